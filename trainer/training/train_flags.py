"""The flags of trainer.train, most of which trainer.cross_validate has too."""

from absl import flags

from trainer import models
from trainer.distribution import choice, precision
from trainer.training import recipes

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "directory for the model, its history and logs", flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", " or ".join(models.MODELS), flag_values=FLAGS)
flags.DEFINE_string(
    "model_options",
    "",
    "sizes of the model and switches (0, 1), such as filter_bands=30,filters=16; its file names them",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "init_from",
    "",
    "TIME_JOB,FREQUENCY_JOB whose filters --model=time_frequency_init starts from; by default it trains both first, "
    "in JOB/time and JOB/frequency",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "recipe",
    "modern",
    "how it is trained: modern (Adam along a cosine, lowest validation loss kept), cbmi2016 (the paper's: SGD, "
    "halved and ended by the rises of the training loss, highest validation accuracy kept) or augmented (Adam along a "
    "cosine, varied patches at random places, averaged weights, the last epoch kept)",
    flag_values=FLAGS,
)
flags.DEFINE_integer("epochs", None, f"at most; by default {recipes.defaults_of('epochs')}", flag_values=FLAGS)
flags.DEFINE_integer(
    "patience",
    None,
    f"stop after so many epochs without a better one; by default {recipes.defaults_of('patience')}",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "batch_size",
    None,
    "patches in a step, on all devices of all hosts together; the learning rate is not scaled by their number; by "
    f"default {recipes.defaults_of('batch_size')}",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "learning_rate", None, f"at the start; by default {recipes.defaults_of('learning_rate')}", flag_values=FLAGS
)
flags.DEFINE_float(
    "warmup",
    None,
    "share of all steps in which the rate rises linearly from 0, before the cosine; by default "
    f"{recipes.defaults_of('warmup')}",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "label_smoothing",
    None,
    "share of each training label that is dealt to all labels; the validation loss is without it; by default "
    f"{recipes.defaults_of('label_smoothing')}",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "weight_average",
    None,
    "momentum of the average of the weights that is validated and kept, 0: none; by default "
    f"{recipes.defaults_of('weight_average')}",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "patch_frames",
    None,
    f"frames that the model sees at once; by default {recipes.defaults_of('patch_frames')}",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "patch_mode",
    None,
    "where training patches lie: windows (one after the other) or random (as many, at places that every epoch draws "
    f"anew); all others are windows; by default {recipes.defaults_of('patch_mode')}",
    flag_values=FLAGS,
)
flags.DEFINE_integer("test_fold", None, "fold kept for the score; by default the last", flag_values=FLAGS)
flags.DEFINE_integer(
    "valid_fold",
    None,
    "fold that chooses the epoch; by default the one before, or none where the last epoch is kept",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "augment",
    None,
    "how training batches are varied, such as frequency_masks=2,time_masks=2,gain_db=6,mixup_alpha=0.2, or nothing for "
    "not at all; python -m tfrecords show OUT --augment=... draws it; by default "
    f"{recipes.defaults_of('augment')}, else not at all",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "of weights, dropout and order", flag_values=FLAGS)
flags.DEFINE_string(
    "precision",
    precision.FLOAT32,
    f"in which numbers the layers compute: {', '.join(precision.PRECISIONS)}; weights stay float32",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "distribution",
    choice.AUTO,
    "devices: none (one), mirrored (all GPUs), multi_worker (hosts of TF_CONFIG), tpu, or auto: what is there",
    flag_values=FLAGS,
)
flags.DEFINE_string("tpu", "local", "name or grpc:// address of the TPU; local: of this host", flag_values=FLAGS)
flags.DEFINE_bool(
    "jit_compile",
    None,
    "compile the step of one device by XLA; by default on a GPU, and with JAX everywhere",
    flag_values=FLAGS,
)
flags.DEFINE_bool("overwrite", False, "start over in a job_dir that holds a job", flag_values=FLAGS)
flags.DEFINE_float(
    "save_every_s",
    300.0,
    "save the state so often within an epoch; 0: after every step",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "log_batches",
    None,
    "file to which a line 'epoch step sha256' is added for each batch trained on, to check where a training went on",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "profile_steps",
    "",
    "FIRST,LAST: steps to trace, counted from 1 when the command is given, such as 10,20; TensorBoard shows them where "
    "tensorboard-plugin-profile is installed",
    flag_values=FLAGS,
)
