from trainer.evaluation.cross_validation import Run
from trainer.evaluation.fold_workers import Progress, duration
from trainer.evaluation.folds import FoldResult


def done(seconds, best_epoch=23):
    return FoldResult(accuracy=7 / 12, tracks=48, epochs=31, best_epoch=best_epoch, seconds=seconds)


def test_a_line_tells_how_far_it_is_and_how_long_the_rest_may_take():
    runs = [Run("time", 0, 3), *(Run(model, 1, fold) for model in ("time", "black_box") for fold in range(3))]
    progress = Progress(runs, total=75, processes=2)
    line = progress.line(runs[0], done(42))
    assert line == ("69 of 75: time, seed 0, fold 3: 58.3 % of 48 tracks, 31 epochs (best 23), 42 s; about 2 min left")
    # Three of `time` at 42 s and two of `black_box` at 420 s, two at once.
    assert progress.line(runs[4], done(420)).endswith("; about 8 min left")
    for run in (*runs[1:4], runs[5]):
        progress.line(run, done(1))
    assert progress.line(runs[6], done(1, best_epoch=None)) == (
        "75 of 75: black_box, seed 1, fold 2: 58.3 % of 48 tracks, 31 epochs (last kept), 1 s"
    )


def test_times_have_the_unit_that_suits_them():
    assert [duration(seconds) for seconds in (0.4, 99, 119, 5000, 9000)] == ["0 s", "99 s", "2 min", "83 min", "2.5 h"]
