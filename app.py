"""Synthesize the stack from cdk.json's context. Run by the cdk CLI; needs neither an account nor the network."""

import json
import os
from pathlib import Path

import aws_cdk as cdk

from infra.config import config_from_context
from infra.stack import TrainingStack


def main() -> None:
    """Build the one stack of the app."""
    # The cdk CLI passes the same context and what `-c` changes; without the CLI the defaults are read here.
    defaults = json.loads((Path(__file__).parent / "cdk.json").read_text())["context"]
    app = cdk.App(context=defaults)
    config = config_from_context(app.node.get_all_context())
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    # With an account the cdk CLI looks up all its zones; without one the template works in any region's first two.
    environment = cdk.Environment(account=account, region=region) if account and region else None
    TrainingStack(app, config, environment)
    app.synth()


if __name__ == "__main__":
    main()
