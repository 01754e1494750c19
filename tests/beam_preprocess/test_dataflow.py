"""A whole submission to Dataflow, up to the calls that need credentials and a network."""

import base64
import bz2
import json
import re
import sysconfig
import tempfile
from pathlib import Path

import apache_beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
from apache_beam.utils import proto_utils

from beam_preprocess import engine, pipeline
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig, SplitConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.write_manifest import DatasetSpec

IMAGE = "us-docker.pkg.dev/my-project/music/beam_preprocess:1"
ROOT = Path(__file__).parents[2]
BEAM_ARGS = [
    "--runner=DataflowRunner",
    "--project=my-project",
    "--region=us-central1",
    "--temp_location=gs://bucket/scratch",
    f"--sdk_container_image={IMAGE}",
    # As the launcher of a Flex Template asks: the job is described in a file instead of being started.
    "--template_location=gs://bucket/job_object",
    "--job_name=music",
    "--no_auth",
]


@pytest.fixture(scope="module")
def submit(make_tracks):
    """Submits the job for a number of tracks; returns name -> bytes of the files sent to Cloud Storage."""

    def run(num_tracks):
        config = JobConfig("gs://bucket/music", "gs://bucket/out", "music", split=SplitConfig(folds=2))
        rows = [(f"track {index}.wav", ("blues", "jazz")[index // 2 % 2]) for index in range(num_tracks)]
        parts = [f"fold_{index % 2}" for index in range(num_tracks)]
        plan = make_plan(config, make_tracks(rows), parts, {"method": "folds"})
        staged = {}

        def stage(self, directory, name, stream, *args, **kwargs):
            staged[name] = stream.read()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DataflowApplicationClient, "stage_file", stage)
            # It looks into the bucket, how that keeps deleted files.
            patch.setattr(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda self, name: None)
            job = engine.make_pipeline(engine.parse_options(BEAM_ARGS))
            pipeline.build(job, config, DatasetSpec.from_plan(config, plan), FrontEnd(config.front_end))
            job.run()
        return staged

    return run


@pytest.fixture(scope="module")
def staged(submit):
    return submit(40)


@pytest.fixture(scope="module")
def proto(staged):
    return beam_runner_api_pb2.Pipeline.FromString(staged["pipeline.pb"])


@pytest.fixture(scope="module")
def description(staged):
    return json.loads(staged["job_object"])


def unpacked(data):
    """Everything that Beam pickled into a message: base64 of bz2, at any depth."""
    for match in re.finditer(rb"QlpoO[A-Za-z0-9+/]+", data):
        text = match[0][: len(match[0]) // 4 * 4]
        pickled = bz2.BZ2Decompressor().decompress(base64.b64decode(text))
        yield pickled
        yield from unpacked(pickled)


def test_stages(proto):
    roots = {proto.components.transforms[name].unique_name for name in stage_ids(proto)}
    assert {name.partition("/")[0] for name in roots} == {
        "ReadPlan", "Spread", "WriteShard", "GroupByContent", "Duplicates", "Collect", "WriteManifest",
    }  # fmt: skip


def stage_ids(proto):
    """The transforms that run on workers."""
    return [name for name, transform in proto.components.transforms.items() if not transform.subtransforms]


def test_workers_run_the_image_and_install_nothing(proto, description):
    (environment,) = {proto.components.transforms[name].environment_id for name in stage_ids(proto)} - {""}
    found = proto.components.environments[environment]
    assert found.urn == common_urns.environments.DOCKER.urn
    payload = proto_utils.parse_Bytes(found.payload, beam_runner_api_pb2.DockerPayload)
    assert payload.container_image == IMAGE
    (pool,) = description["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == IMAGE
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]
    # Neither source nor wheels: Beam's registries, and a list of versions for its log.
    names = {package["name"] for package in pool["packages"]}
    assert names == {"pickled_main_session", "submission_environment_dependencies.txt"}


def test_options(description):
    options = description["environment"]["sdkPipelineOptions"]["options"]
    assert options["project"] == "my-project"
    assert options["region"] == "us-central1"
    assert options["sdk_container_image"] == IMAGE
    assert options["temp_location"].startswith("gs://bucket/scratch/music.")
    assert options["pipelineUrl"].startswith("gs://bucket/scratch/music.")
    assert (description["name"], description["type"]) == ("music", "JOB_TYPE_BATCH")


def test_what_is_pickled_can_be_looked_into(staged):
    pickled = b"".join(unpacked(staged["pipeline.pb"]))
    for word in (b"WriteShard", b"WriteManifest", b"duplicate_ids", b"gs://bucket/music", b"gs://bucket/out"):
        assert word in pickled


def test_no_path_of_this_machine_is_sent(staged):
    # The only ones are names of Beam's own source files, in the code of its own lambdas.
    beam = f"{Path(apache_beam.__file__).parent}/".encode()
    places = {str(ROOT), str(Path.cwd()), str(Path.home()), tempfile.gettempdir(), *sysconfig.get_paths().values()}
    # Beam's list of versions for the log is headed by the path of its Python.
    for name in staged.keys() - {"submission_environment_dependencies.txt"}:
        for part in (staged[name], *unpacked(staged[name])):
            text = re.sub(re.escape(beam) + rb"[\w/]+\.py", b"", part)
            assert [place for place in places - {"/"} if place.encode() in text] == [], name


def test_no_track_is_sent_and_the_size_is_that_of_the_code(staged, submit):
    more = submit(4000)
    for name in ("pipeline.pb", "job_object"):
        assert abs(len(more[name]) - len(staged[name])) < 200
        for part in (more[name], *unpacked(more[name])):
            assert b"track " not in part
