"""The network of a training, compiled by torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError, one_line

_COMPILERS = ("torch._dynamo", "torch._inductor")


def compile_in_place(network: nn.Module) -> None:
    """Let torch compile a network when it is first called.

    The network stays the same object, and its weights keep their names: a state or a model file does not tell whether
    the network was compiled.
    """
    network.compile()


@contextmanager
def compiler_explained() -> Iterator[None]:
    """Context in which torch may compile; it turns the compiler's errors into one readable line.

    Raises
    ------
    PixelEmbeddedAffinityError
        If torch cannot compile the network on this machine.
    """
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(_COMPILERS):
            raise
        raise PixelEmbeddedAffinityError(
            f"torch cannot compile the network here ({one_line(error)}); expected a C++ compiler, and for a GPU the "
            "package triton; install them, or train without compiling (no --compile)"
        ) from error
