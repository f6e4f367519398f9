"""Where on S3 an attempt writes, and where the run's earlier attempts wrote. Runs in the worker."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Storage:
    """The folders that a worker uses on S3. It knows each key that it asks for: a machine may list nothing.

    Parameters
    ----------
    bucket : str
    folder : str
        Key prefix of all that this machine writes, results and checkpoints; ends with a slash.
    earlier_folders : tuple of str
        Those of the machines of the run's earlier attempts, the newest first; only checkpoints are read from them.
    """

    bucket: str
    folder: str
    earlier_folders: tuple[str, ...] = ()
