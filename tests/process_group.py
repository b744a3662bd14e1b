"""The end of a process that talked to others by gloo."""

import os
from typing import NoReturn

import torch.distributed


def leave_process_group() -> NoReturn:
    """Waits for the others and ends this process, without Python's exit.

    One such exit in ten or so is aborted after Python has ended, by a thread that gloo leaves.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)
