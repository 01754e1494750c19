"""One Python worker for an engine that starts its workers as commands (--environment_type=PROCESS).

python -m tools.beam_worker --id=ID --provision_endpoint=HOST:PORT

The arguments are those that Beam gives the entry point of a worker's container; nothing is fetched, for the code is
here already.
"""

import argparse

import grpc
from apache_beam.portability.api import beam_provision_api_pb2 as provision
from apache_beam.portability.api import beam_provision_api_pb2_grpc as provision_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness


def main() -> None:
    """Works until the engine hangs up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    arguments, _ = parser.parse_known_args()
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        service = provision_grpc.ProvisionServiceStub(channel)
        request = provision.GetProvisionInfoRequest()
        answer = service.GetProvisionInfo(request, metadata=[("worker_id", arguments.id)])
    SdkHarness(answer.info.control_endpoint.url, worker_id=arguments.id).run()


if __name__ == "__main__":
    main()
