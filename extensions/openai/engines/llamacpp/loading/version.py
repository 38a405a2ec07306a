"""Whether xllamacpp is there, and can do what is asked."""

from __future__ import annotations

from ...model_spec import ModelLoadError

MAX_SLOTS, MAX_THREADS = 256, 512  # llama.cpp's own limits


def checked_version(*, parallel: int, threads: int) -> str:
    """The version of xllamacpp. Raises ModelLoadError if it is missing, or for more than llama.cpp can do."""
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelLoadError(
            "The llama.cpp loader needs the package xllamacpp: pip install xllamacpp"
        ) from error
    for flag, value, maximum in (
        ("parallel", parallel, MAX_SLOTS),
        ("threads", threads, MAX_THREADS),
    ):
        if value > maximum:
            raise ModelLoadError(f"--{flag} may be {maximum} at most")
    return str(xllamacpp.__version__)
