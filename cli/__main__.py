"""`python -m cli plan|watch|show|list`: runs from the command line. Runs on a person's machine."""

import argparse
import signal
import sys

from botocore.exceptions import BotoCoreError, ClientError

from cli import plan, show, watch
from cli.stack import STACK_NAME, StackMissing, find_stack
from contracts.plain import plain


def main() -> int:
    """Carry out one command; returns the exit code, 1 when the run did not succeed."""
    # `... | head` ends this program as it ends any other, without a trace.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    arguments = _parser().parse_args()
    try:
        stack = find_stack(arguments.stack)
        if arguments.command == "list":
            print(show.listing(show.newest(stack, arguments.limit)))
            return 0
        if arguments.command == "plan":
            return plan.report(plan.request_of(arguments.request), arguments.request, stack)
        if arguments.command == "show":
            print(show.report(stack, show.load(stack, arguments.run_id)))
            return 0
        last = watch.follow(stack, arguments.execution_arn)
        if last.run_id:
            print("\n" + show.report(stack, show.concluded(stack, last.run_id)))
        else:
            print("\n" + plain(f"{last.status}: {last.cause}", keep="\n"))
        return 0 if last.status == "SUCCEEDED" else 1
    except (StackMissing, show.RunMissing, plan.RequestUnreadable) as error:
        print(error, file=sys.stderr)
        return 2
    except (ClientError, BotoCoreError) as error:
        print(plain(f"AWS did not answer as expected: {error}"), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cli", description="Plan runs, follow them and see what they gave.")
    parser.add_argument("--stack", default=STACK_NAME, help="name of the deployed stack (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan", help="say what a request needs and may cost, before anything is spent")
    planning.add_argument(
        "request", nargs="?", default=plan.DEFAULT, help="a file, - for standard input, or the request (default: {})"
    )
    watching = commands.add_parser("watch", help="follow an execution until it ends, then show its run")
    watching.add_argument("execution_arn", help="what `aws stepfunctions start-execution` printed")
    showing = commands.add_parser("show", help="show a run: verdict, metrics, artifacts, cost, receipt")
    showing.add_argument("run_id", help="such as 20261123-180000")
    listing = commands.add_parser("list", help="list the newest runs")
    listing.add_argument("--limit", type=int, default=20)
    return parser


if __name__ == "__main__":
    sys.exit(main())
