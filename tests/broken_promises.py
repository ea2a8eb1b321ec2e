"""Broken promises: whether the tests that `docs/promises.rst` lists notice when a promise is broken.

``python tests/broken_promises.py`` runs, for each fault, the tests that ought to notice it, in processes in which
one thing of the package (or of a library that it calls) is replaced by a faulty one. A fault names what it replaces,
such as ``pixel_embedded_affinity.normalize:normalize``, and how: a function that takes the right one and returns the
faulty one. In the end all these tests run without any fault, and must pass: one that always fails notices nothing.

The replacement happens as soon as the module has been imported, in pytest and in every process of Python that a test
starts: a ``sitecustomize.py`` on the path calls `install`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pixel_embedded_affinity"
SECONDS = 600
NOTHING = "NOT NOTICED"
CHOSEN = "BROKEN_PROMISE"

# For every process that the tests start, too. Hypothesis need not make a failure small.
SITE = """
import importlib.util, os
spec = importlib.util.spec_from_file_location("broken_promises", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.install(os.environ.get({chosen!r}, ""))
"""
RUN = """
import sys
import pytest
from hypothesis import Phase, settings

phases = (Phase.explicit, Phase.generate)
settings.register_profile("broken", phases=phases, derandomize=True, database=None, deadline=None)
settings.load_profile("broken")
sys.exit(pytest.main(sys.argv[1:]))
"""


class Fault(NamedTuple):
    """One fault: `target`, ``module:name`` or ``module:Class.name``, becomes what `make` returns for it.

    A `make` of two parameters also gets the module. The tests are some that the promise lists.
    """

    promise: str
    words: str
    target: str
    make: Callable[..., Any]
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """The module, whose import is waited for."""
        return self.target.partition(":")[0]


FAULTS: list[Fault] = []


def fault(promise: str, words: str, target: str, *tests: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate the function that makes a fault; targets of the package are told without its name."""
    module, _, name = target.partition(":")
    full = f"{PACKAGE}.{module}".rstrip(".") if module not in FOREIGN else module

    def add(make: Callable[..., Any]) -> Callable[..., Any]:
        FAULTS.append(Fault(promise, words, f"{full}:{name}", make, tests))
        return make

    return add


FOREIGN = ("tifffile", "filelock")

# --- putting a fault in ------------------------------------------------------------------------------------


def owner(module: ModuleType, target: str) -> tuple[Any, str]:
    """The module or class that holds a target, and the name of it there."""
    *parents, name = target.partition(":")[2].split(".")
    return functools.reduce(getattr, parents, module), name


def apply(one: Fault, module: ModuleType) -> None:
    """Replace the target, also where modules of the package that are there already have imported it."""
    holder, name = owner(module, one.target)
    right = inspect.getattr_static(holder, name)
    wants_module = len(inspect.signature(one.make).parameters) == 2
    faulty = one.make(right, module) if wants_module else one.make(right)
    setattr(holder, name, faulty)
    for other in [module for key, module in sys.modules.items() if key.split(".")[0] == PACKAGE]:
        if callable(right) and vars(other).get(name) is right:
            setattr(other, name, faulty)


class _Watch:
    """Finds the module of a fault as it is always found, and applies the fault once it has been executed."""

    def __init__(self, one: Fault) -> None:
        self.one = one

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.one.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            apply(self.one, module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def install(words: str) -> None:
    """Put the fault with these words into this process, as soon as its module is imported; no words: no fault."""
    sys.meta_path[:0] = [_Watch(one) for one in FAULTS if one.words == words]  # type: ignore[arg-type]


# --- the input is never modified ---------------------------------------------------------------------------


@fault(
    "The input is never modified",
    "an image of float32 is not copied",
    "image:as_image",
    "tests/test_image.py::test_image_owns_its_memory_even_if_nothing_had_to_change",
)
def _(right: Any) -> Any:
    import numpy as np

    def as_image(source: Any, **options: Any) -> Any:
        image = right(source, **options)
        if not isinstance(source, np.ndarray) or source.dtype != np.float32:
            return image
        same = source.size == image.values.size
        return replace(image, values=source.reshape(image.values.shape)) if same else image

    return as_image


@fault(
    "The input is never modified",
    "an image is normalized in place",
    "normalize:normalize",
    "tests/test_normalize.py::test_input_of_any_strides_is_left_alone_and_the_result_is_contiguous",
)
def _(right: Any) -> Any:
    def normalize(values: Any, *settings: Any) -> Any:
        values[...] = right(values, *settings)
        return values.copy()

    return normalize


@fault(
    "The input is never modified",
    "negative affinities are set to 0 in place",
    "clustering.mutex_watershed:MutexWatershed.__call__",
    "tests/clustering/test_mutex_watershed.py::test_it_keeps_the_contract_of_clusterers",
)
def _(right: Any) -> Any:
    def call(self: Any, affinities: Any, **options: Any) -> Any:
        if affinities.is_given:
            affinities.values[affinities.values < 0] = 0
        return right(self, affinities, **options)

    return call


# --- labels are int32 and consecutive ----------------------------------------------------------------------


@fault(
    "Labels are int32 and consecutive",
    "the numbers of the library are taken as they come",
    "labels:relabel",
    "tests/clustering/test_mutex_watershed.py::test_labels_are_consecutive_although_the_library_skips_numbers_under_a_mask",
)
def _(right: Any) -> Any:
    import numpy as np

    return lambda labels: np.array(labels, np.int32)


@fault(
    "Labels are int32 and consecutive",
    "objects that are removed leave gaps",
    "postprocess:remove_small",
    "tests/property/test_postprocess_properties.py::test_removal_keeps_exactly_the_objects_of_the_least_size",
)
def _(right: Any) -> Any:
    import numpy as np

    return lambda labels, *settings: np.where(right(labels, *settings) > 0, labels, 0).astype(np.int32)


# --- the same input gives the same labels ------------------------------------------------------------------


@fault(
    "The same input gives the same labels",
    "normalization depends on a random sample",
    "normalize:normalize",
    "tests/test_normalize.py::test_same_image_gives_the_same_bytes",
)
def _(right: Any) -> Any:
    import numpy as np

    generator = np.random.default_rng()
    return lambda *given: right(*given) + np.float32(generator.normal(0, 1e-3))


@fault(
    "The same input gives the same labels",
    "ties are broken by a generator of one's own without a seed",
    "clustering.mutex_watershed:MutexWatershed.__call__",
    "tests/clustering/test_mutex_watershed.py::test_of_equal_weights_of_one_role_the_earlier_pixel_comes_first",
)
def _(right: Any) -> Any:
    import numpy as np

    generator = np.random.default_rng()

    def call(self: Any, affinities: Any, **options: Any) -> Any:
        values = np.array(affinities.numpy().values, np.float32)
        noise = generator.random(values.shape, np.float32) * np.float32(1e-5)
        return right(self, replace(affinities.numpy(), values=values * (1 - noise)), **options)

    return call


@fault(
    "The same input gives the same labels",
    "the file of labels holds the time",
    "tifffile:imwrite",
    "tests/test_export.py::test_same_labels_give_the_same_bytes",
)
def _(right: Any) -> Any:
    return functools.partial(right, datetime=True)


# --- tiled is whole ----------------------------------------------------------------------------------------


def _nothing(length: Any) -> Any:
    """No pixels, as one number or along each axis."""
    return 0 if isinstance(length, int) else (0,) * len(length)


def _half(length: Any) -> Any:
    return length // 2 if isinstance(length, int) else tuple(part // 2 for part in length)


@fault(
    "Tiled is whole",
    "tiles have no halo",
    "geometry.tiling:tiles",
    "tests/geometry/test_tiling.py::test_a_tile_starts_on_the_grid_and_has_its_halo_unless_the_image_ends",
    "tests/test_segmenter.py::test_labels_of_tiles_are_those_of_the_whole",
)
def _(right: Any) -> Any:
    return lambda *given, halo, grid: right(*given, halo=_nothing(halo), grid=grid)


@fault(
    "Tiled is whole",
    "tiles do not start on the grid of the network",
    "geometry.tiling:rounded_up",
    "tests/geometry/test_tiling.py::test_a_tile_starts_on_the_grid_and_has_its_halo_unless_the_image_ends",
)
def _(right: Any) -> Any:
    return lambda length, grid: length


@fault(
    "Tiled is whole",
    "the image is given up where memory runs out",
    "runtime.memory:is_out_of_memory",
    "tests/test_embedding.py::test_tiles_are_halved_where_memory_runs_out_which_is_logged_and_changes_nothing",
)
def _(right: Any) -> Any:
    return lambda error: False


# --- blockwise is in memory --------------------------------------------------------------------------------


@fault(
    "Blockwise is in memory",
    "blocks see half of the overlap",
    "geometry.tiling:grown",
    "tests/large/test_blockwise.py::test_objects_no_longer_than_the_overlap_are_those_of_the_whole_image",
)
def _(right: Any) -> Any:
    return lambda box, margin, *others: right(box, _half(margin), *others)


@fault(
    "Blockwise is in memory",
    "objects of two blocks are never one",
    "large.stitching:matches",
    "tests/large/test_blockwise.py::test_objects_no_longer_than_the_overlap_are_those_of_the_whole_image",
)
def _(right: Any) -> Any:
    return lambda *both: right(*both)[:0]


@fault(
    "Blockwise is in memory",
    "objects are numbered block by block",
    "large.stitching:numbers",
    "tests/large/test_blockwise.py::test_objects_no_longer_than_the_overlap_are_those_of_the_whole_image",
)
def _(right: Any) -> Any:
    import numpy as np

    def numbers(*given: Any, **options: Any) -> Any:
        labels = right(*given, **options)
        found, first = np.unique(labels[labels > 0], return_index=True)
        table = np.zeros(len(found) + 1, np.int32)
        table[found[np.argsort(first)]] = np.arange(1, len(found) + 1)
        return table[labels]

    return numbers


@fault(
    "Blockwise is in memory",
    "a run that is started again begins at the beginning",
    "large.blockwise:label_blockwise",
    "tests/large/test_blockwise.py::test_a_killed_run_goes_on_where_it_was",
)
def _(right: Any) -> Any:
    def label_blockwise(*given: Any, folder: Path, **options: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return right(*given, folder=folder, **options)

    return label_blockwise


@fault(
    "Blockwise is in memory",
    "blocks of other settings are taken over",
    "large.blockwise:label_blockwise",
    "tests/large/test_blockwise.py::test_blocks_of_other_settings_or_another_cut_are_refused",
)
def _(right: Any) -> Any:
    return lambda *given, identity, **options: right(*given, identity={}, **options)


# --- corrections -------------------------------------------------------------------------------------------


@fault(
    "Corrections hold",
    "the pixels of a stroke over background stay background",
    "links:painted_over",
    "tests/property/test_links_properties.py::test_a_link_always_holds",
)
def _(right: Any) -> Any:
    from pixel_embedded_affinity.labels import relabel

    return lambda labels, found, links, seeds: relabel(labels)


@fault(
    "Corrections hold",
    "an object that different strokes share is not cut",
    "links:Parties.apart",
    "tests/property/test_links_properties.py::test_a_link_always_holds",
)
def _(right: Any) -> Any:
    return lambda self, one, other: False


@fault(
    "Corrections hold",
    "a stroke removes the object with the largest number",
    "clustering.corrections:corrected",
    "tests/property/test_links_properties.py::test_what_holds_already_changes_nothing",
)
def _(right: Any) -> Any:
    import numpy as np

    def corrected(labels: Any, *others: Any) -> Any:
        found = right(labels, *others)
        return np.where(found == found.max(), 0, found)

    return corrected


# --- threads, processes and pickles ------------------------------------------------------------------------


@fault(
    "Threads, processes and pickles",
    "the settings of a call are kept in the segmenter",
    "segmenter:Segmenter.segment",
    "tests/test_concurrency.py::test_threads_with_settings_of_their_own_do_not_mix_them",
)
def _(right: Any) -> Any:
    def segment(self: Any, image: Any, **options: Any) -> Any:
        if (size := options.pop("min_size", None)) is not None:
            self.config = self.with_settings(
                postprocess=replace(self.config.postprocess, min_size=size)
            ).config
            time.sleep(0.01)  # long enough for another thread
        return right(self, image, **options)

    return segment


@fault(
    "Threads, processes and pickles",
    "a pickle comes back on whatever device there is",
    "runtime.device:resolve_device",
    "tests/test_concurrency.py::test_a_pickle_of_a_device_that_is_missing_is_refused",
)
def _(right: Any) -> Any:
    return lambda name: right("cpu")


@fault(
    "Threads, processes and pickles",
    "torch keeps the number of threads of a call",
    "runtime.device:cpu_threads",
    "tests/test_concurrency.py::test_torch_has_the_number_of_threads_at_work_and_its_own_afterwards",
)
def _(right: Any) -> Any:
    @contextlib.contextmanager
    def cpu_threads(count: int | None) -> Iterator[None]:
        import torch

        if count is not None:
            torch.set_num_threads(count)
        yield

    return cpu_threads


@fault(
    "Threads, processes and pickles",
    "a forked process computes on threads that are not there",
    "runtime.device:survive_fork",
    "tests/test_concurrency.py::test_only_a_process_that_was_forked_after_torch_was_loaded_gets_one_thread",
)
def _(right: Any) -> Any:
    return lambda: None


# --- whatever comes in, labels or an error of the library come out -----------------------------------------


@fault(
    "Whatever comes in, labels or an error of the library come out",
    "messages are not made readable",
    "errors:readable",
    "tests/test_errors.py::test_every_error_is_one_readable_line_of_its_own_text",
)
def _(right: Any) -> Any:
    return lambda text: text


@fault(
    "Whatever comes in, labels or an error of the library come out",
    "only some errors of the decoders are caught",
    "io.read:read_source",
    "tests/hostile/test_many_inputs.py::test_hostile_inputs_give_labels_or_one_of_the_library_s_errors",
)
def _(right: Any) -> Any:
    def read_source(path: Path, **options: Any) -> Any:
        try:
            return right(path, **options)
        except Exception as error:
            cause = error.__cause__
            raise error if cause is None or isinstance(cause, OSError) else cause from None

    return read_source


# --- nothing is substituted silently -----------------------------------------------------------------------


@fault(
    "Nothing is substituted silently",
    "an unknown model becomes the first one",
    "models.registry:get_entry",
    "tests/models/test_registry.py::test_an_unknown_name_is_refused_with_the_valid_ones",
)
def _(right: Any, module: Any) -> Any:
    def get_entry(name: Any, registry: Path | None = None) -> Any:
        entries = module.read_registry(registry)
        return entries.get(str(name), next(iter(entries.values())))

    return get_entry


@fault(
    "Nothing is substituted silently",
    "an unknown clusterer becomes the default one",
    "clustering.base:get_clusterer",
    "tests/clustering/test_registry.py::test_an_unknown_name_is_refused_with_the_valid_ones",
)
def _(right: Any, module: Any) -> Any:
    def get_clusterer(name: str, /, **settings: Any) -> Any:
        return right(name if name in module.list_clusterers() else "mutex_watershed", **settings)

    return get_clusterer


@fault(
    "Nothing is substituted silently",
    "where CUDA is missing, the CPU computes",
    "runtime.device:resolve_device",
    "tests/runtime/test_device.py::test_cuda_is_refused_where_there_is_none",
)
def _(right: Any) -> Any:
    def resolve_device(name: str) -> Any:
        try:
            return right(name)
        except Exception:
            return right("cpu")

    return resolve_device


@fault(
    "Nothing is substituted silently",
    "a short first axis is taken for channels",
    "image:as_image",
    "tests/test_image.py::test_default_axes_never_follow_from_lengths",
)
def _(right: Any) -> Any:
    def as_image(source: Any, *, axes: str | None = None, **options: Any) -> Any:
        shape = getattr(source, "shape", ())
        guessed = "CYX" if axes is None and len(shape) == 3 and shape[0] <= 4 else axes
        return right(source, axes=guessed, **options)

    return as_image


@fault(
    "Nothing is substituted silently",
    "weights that are missing or not known are passed over",
    "network.build:load_network",
    "tests/network/test_build.py::test_missing_weights_are_counted_and_named",
    "tests/network/test_build.py::test_surplus_weights_are_counted_and_the_first_ones_named",
)
def _(right: Any, module: Any) -> Any:
    def load_network(config: Any, weights: Any) -> Any:
        whole = module.build_network(config).state_dict()
        return right(config, {name: weights.get(name, value) for name, value in whole.items()})

    return load_network


# --- weights are verified, and never executed --------------------------------------------------------------


@fault(
    "Weights are verified, and never executed",
    "the hash of a file that is there is not compared",
    "models.fetch:_fault",
    "tests/models/test_fetch.py::test_damaged_bundled_weights_are_reported_and_not_used",
    "tests/models/test_fetch.py::test_a_damaged_cached_file_is_reported_and_fetched_again",
)
def _(right: Any) -> Any:
    def without_hash(entry: Any, path: Path) -> Any:
        found = right(entry, path)
        return None if found is not None and "SHA-256" in found else found

    return without_hash


@fault(
    "Weights are verified, and never executed",
    "the hash of a download is not compared",
    "models.fetch:_Receiver.check",
    "tests/models/test_fetch.py::test_a_failed_download_says_why_and_leaves_nothing",
)
def _(right: Any) -> Any:
    return lambda self: None


@fault(
    "Weights are verified, and never executed",
    "the bytes that become weights are not those that were verified",
    "models.checkpoint:read_checkpoint",
    "tests/test_segmenter.py::test_a_resolved_file_is_checked_against_its_hash_when_it_is_read",
)
def _(right: Any) -> Any:
    return lambda path, sha256=None: right(path)


@fault(
    "Weights are verified, and never executed",
    "a file of torch is loaded by torch",
    "models.checkpoint:read_checkpoint",
    "tests/hostile/test_hostile_checkpoints.py::test_a_torch_file_is_refused_and_never_run",
    "tests/hostile/test_hostile_checkpoints.py::test_a_pickle_is_refused_and_never_run",
)
def _(right: Any) -> Any:
    def read_checkpoint(path: Any, **options: Any) -> Any:
        if Path(path).is_file() and Path(path).read_bytes()[:2] in (b"PK", b"\x80\x02"):
            import torch

            torch.load(path, weights_only=False)
        return right(path, **options)

    return read_checkpoint


@fault(
    "Weights are verified, and never executed",
    "an encoder's weights are unpickled",
    "training.run.encoder_weights:_read",
    "tests/training/run/test_encoder_weights.py::test_an_object_in_a_file_is_refused_and_never_run",
)
def _(right: Any) -> Any:
    def read(path: Any) -> Any:
        import torch

        torch.load(path, weights_only=False)
        return right(path)

    return read


# --- the cache survives two processes and a kill -----------------------------------------------------------


@fault(
    "The cache survives two processes and a kill",
    "each process has a lock of its own",
    "filelock:FileLock",
    "tests/models/test_fetch.py::test_two_processes_at_once_fetch_only_once",
)
def _(right: Any) -> Any:
    return lambda path, **options: right(f"{path}.{os.getpid()}", **options)


@fault(
    "The cache survives two processes and a kill",
    "what a killed download leaves is not removed",
    "models.fetch:_remove_leftovers",
    "tests/models/test_fetch.py::test_a_killed_download_leaves_no_file_and_does_not_block_the_next",
)
def _(right: Any) -> Any:
    return lambda target: None


@fault(
    "The cache survives two processes and a kill",
    "nobody else may read a file of the cache",
    "io.atomic:atomic_file",
    "tests/models/test_fetch.py::test_the_mode_of_a_cached_file_follows_the_umask",
)
def _(right: Any) -> Any:
    @contextlib.contextmanager
    def atomic_file(path: Path) -> Iterator[Any]:
        with right(path) as file:
            yield file
        path.chmod(0o600)

    return atomic_file


# --- offline means offline ---------------------------------------------------------------------------------


@fault(
    "Offline means offline",
    "PEA_OFFLINE is not heeded",
    "models.fetch:_offline_by_environment",
    "tests/models/test_fetch.py::test_offline_mode_makes_no_request",
)
def _(right: Any) -> Any:
    return lambda: False


@fault(
    "Offline means offline",
    "bundled weights are not looked for",
    "models.fetch:plan",
    "tests/models/test_fetch.py::test_bundled_weights_need_neither_network_nor_cache",
)
def _(right: Any) -> Any:
    def plan(*given: Any, **options: Any) -> Any:
        found = right(*given, **options)
        return replace(found, local=found.local[:1])

    return plan


# --- files appear complete or not at all -------------------------------------------------------------------


@fault(
    "Files appear complete or not at all",
    "a file is written under its final name",
    "io.atomic:atomic_path",
    "tests/test_export.py::test_file_is_not_seen_under_its_name_before_it_is_whole",
    "tests/test_export.py::test_failure_half_way_leaves_the_old_file_and_no_other",
)
def _(right: Any) -> Any:
    @contextlib.contextmanager
    def atomic_path(path: Any, suffixes: tuple[str, ...]) -> Iterator[Path]:
        yield Path(path)

    return atomic_path


@fault(
    "Files appear complete or not at all",
    "a failed write of a checkpoint leaves its part",
    "io.atomic:atomic_file",
    "tests/models/test_checkpoint.py::test_a_failed_write_leaves_nothing",
)
def _(right: Any) -> Any:
    @contextlib.contextmanager
    def atomic_file(path: Path) -> Iterator[Any]:
        part = path.with_name(f".{path.name}.part")
        with part.open("xb") as file:
            yield file
        part.replace(path)

    return atomic_file


# --- a batch survives its files, and Ctrl-C ----------------------------------------------------------------


@fault(
    "A batch survives its files, and Ctrl-C",
    "a batch ends at the first bad file",
    "cli.segment:_attempt",
    "tests/cli/test_segment.py::test_a_bad_file_is_reported_and_does_not_stop_the_rest",
)
def _(right: Any, module: Any) -> Any:
    return lambda *given: module._segment_file(*given) or True


@fault(
    "A batch survives its files, and Ctrl-C",
    "a batch ends at an error that nobody foresaw",
    "cli.segment:_reason",
    "tests/cli/test_segment.py::test_an_error_that_nobody_foresaw_does_not_stop_the_rest",
)
def _(right: Any, module: Any) -> Any:
    def reason(error: Exception) -> str:
        if isinstance(error, module.PixelEmbeddedAffinityError):
            return str(right(error))
        raise error

    return reason


@fault(
    "A batch survives its files, and Ctrl-C",
    "Ctrl-C ends with a traceback",
    "cli:main",
    "tests/cli/test_surroundings.py::test_an_interrupted_batch_says_one_line_and_keeps_whole_files_only",
)
def _(right: Any) -> Any:
    def main(*given: Any) -> Any:
        if (code := right(*given)) == 130:
            raise KeyboardInterrupt
        return code

    return main


# --- outlines and measurements are exact -------------------------------------------------------------------


@fault(
    "Outlines and measurements are exact",
    "polygons lose their holes",
    "export.polygons:object_polygons",
    "tests/test_polygons.py::test_polygons_painted_again_are_the_labels",
    "tests/data/test_outlines.py::test_what_is_written_comes_back",
)
def _(right: Any) -> Any:
    return lambda labels: [polygon._replace(holes=()) for polygon in right(labels)]


@fault(
    "Outlines and measurements are exact",
    "the convex hull is that of the pixels' centers",
    "export.measurements:_widened",
    "tests/test_measurements.py::test_forms_in_2d_are_those_of_scikit_image",
)
def _(right: Any) -> Any:
    return lambda _, envelope: envelope


@fault(
    "Outlines and measurements are exact",
    "the shortest axis of an ellipsoid is that of an ellipse",
    "export.measurements:shapes",
    "tests/test_measurements.py::test_forms_in_3d_are_those_of_scikit_image",
)
def _(right: Any) -> Any:
    def shapes(objects: Any) -> Any:
        columns = right(objects)
        return {
            **columns,
            "axis_minor_length": columns["axis_minor_length"] * (0.8 if objects.ndim == 3 else 1) ** 0.5,
        }

    return shapes


# --- a batch never mixes results ---------------------------------------------------------------------------


@fault(
    "A batch never mixes results",
    "results of other settings count as done",
    "cli.records:Source.as_json",
    "tests/cli/test_segment.py::test_resume_makes_results_of_other_settings_again_all_of_them",
)
def _(right: Any) -> Any:
    return lambda source: {"image": source.image}


@fault(
    "A batch never mixes results",
    "an image of the same name counts as the same",
    "cli.records:fingerprint",
    "tests/cli/test_segment.py::test_resume_makes_the_results_of_another_image_again",
)
def _(right: Any) -> Any:
    return lambda path: path.name


@fault(
    "A batch never mixes results",
    "half a file counts as a result",
    "cli.records:_intact",
    "tests/cli/test_segment.py::test_resume_does_an_image_again_whose_results_are_not_whole",
)
def _(right: Any) -> Any:
    return lambda path, expected: path.exists()


@fault(
    "A batch never mixes results",
    "results are taken for images",
    "cli.inputs:is_marked",
    "tests/cli/test_inputs.py::test_files_of_the_library_are_never_inputs_whatever_they_are_called",
)
def _(right: Any) -> Any:
    return lambda path: False


# --- importing is cheap and has no effects -----------------------------------------------------------------


def _beside(line: str) -> Callable[[str], str]:
    """Say that the package lies elsewhere: in a copy of its first file with one line more."""

    def copied(file: str) -> str:
        folder = Path(tempfile.mkdtemp(dir=os.environ.get("BROKEN_FOLDER"))) / PACKAGE
        folder.mkdir()
        text = Path(file).read_text(encoding="utf-8")
        (folder / "__init__.py").write_text(f"{text}\n{line}\n", encoding="utf-8")
        return str(folder / "__init__.py")

    return copied


for _words, _line, _test in (
    ("the package imports torch", "import torch", "test_import_loads_no_heavy_package"),
    (
        "the package configures logging",
        "logging.basicConfig(level=logging.INFO)",
        "test_import_configures_no_logging",
    ),
    (
        "the package writes a file",
        'open(__file__ + ".log", "a", encoding="utf-8").close()',
        "test_import_writes_no_file_and_reaches_for_nothing",
    ),
    (
        "the package takes its time",
        "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass",
        "test_import_takes_less_than_three_tenths_of_a_second",
    ),
):
    fault("Importing is cheap and has no effects", _words, ":__file__", f"tests/test_import.py::{_test}")(
        _beside(_line)
    )


# --- quiet by default --------------------------------------------------------------------------------------


@fault(
    "Quiet by default",
    "a download is printed",
    "models.fetch:_fetch",
    "tests/models/test_fetch.py::test_nothing_is_printed",
)
def _(right: Any) -> Any:
    def fetch(*given: Any) -> Any:
        print("fetching", given[0].name)
        return right(*given)

    return fetch


@fault(
    "Quiet by default",
    "the number of objects is printed",
    "segmenter:Segmenter.segment",
    "tests/test_segmenter.py::test_nothing_is_logged_above_information_and_nothing_printed",
)
def _(right: Any) -> Any:
    def segment(self: Any, *given: Any, **options: Any) -> Any:
        labels = right(self, *given, **options)
        print(labels.max(), "objects")
        return labels

    return segment


@fault(
    "Quiet by default",
    "the command line leaves the level of the log changed",
    "cli.messages:log_to_stderr",
    "tests/cli/test_main.py::test_the_log_is_as_before_afterwards",
)
def _(right: Any, module: Any) -> Any:
    @contextlib.contextmanager
    def log_to_stderr(level: int) -> Iterator[None]:
        with right(level):
            yield
        module.logging.getLogger(PACKAGE).setLevel(level)

    return log_to_stderr


@fault(
    "Quiet by default",
    "a bar is shown where nobody looks",
    "cli.messages:bar_wanted",
    "tests/cli/test_segment.py::test_a_bar_is_shown_on_a_terminal_only_or_when_asked_for",
)
def _(right: Any) -> Any:
    return lambda arguments: arguments.progress is None or bool(arguments.progress)


# --- versions ----------------------------------------------------------------------------------------------


@fault(
    "Versions",
    "a version has two numbers",
    ":__version__",
    "tests/test_import.py::test_version_is_one_of_three_numbers",
)
def _(right: Any) -> Any:
    return "0.1"


@fault(
    "Versions",
    "a public name is gone",
    ":__getattr__",
    "tests/test_import.py::test_every_public_name_is_there",
)
def _(right: Any) -> Any:
    def getattr_(name: str) -> Any:
        if name == "list_models":
            raise AttributeError(name)
        return right(name)

    return getattr_


# --- the run -----------------------------------------------------------------------------------------------


def promised() -> dict[str, list[str]]:
    """The tests of each promise, by its heading."""
    text = (REPOSITORY / "docs" / "promises.rst").read_text(encoding="utf-8")
    parts = re.split(r"^(.+)\n-{3,}$", text, flags=re.M)[1:]
    return {
        heading: re.findall(r"^- ``(\S+)``$", section, re.M)
        for heading, section in zip(parts[::2], parts[1::2])
    }


def output_of(words: str, *options: str) -> str:
    """What pytest prints with a fault, or, without words, with none; nothing if its time runs out."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        site = SITE.format(file=str(Path(__file__).resolve()), chosen=CHOSEN)
        (Path(name) / "sitecustomize.py").write_text(site, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", *options],
            cwd=REPOSITORY, env=_environment(words, name), stdout=printed, stderr=printed, start_new_session=True,
        )  # fmt: skip
        in_time = _ended(process)
        printed.seek(0)
        output = printed.read()
    if in_time and not re.search(r"^\d+ (passed|failed|error|skipped).* in [\d.]+s", output, re.M):
        raise RuntimeError(f"the tests did not run to their end:\n{output[-2000:]}")
    return output if in_time else ""


def _environment(words: str, folder: str) -> dict[str, str]:
    paths = [folder, str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    chosen = {CHOSEN: words, "BROKEN_FOLDER": folder, "PYTHONPATH": os.pathsep.join(paths)}
    return {
        **os.environ,
        **chosen,
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the tests; where they take too long, end them and the processes that they have started."""
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True


def failed(output: str) -> list[str]:
    """The tests that failed, without the values of their parameters; a file that cannot be read is no test."""
    return list(dict.fromkeys(re.findall(r"^(?:FAILED|ERROR) (tests/\S+?::\w+)", output, re.M)))


def noticed_by(one: Fault) -> str:
    """The first test that fails with a fault."""
    found = failed(output_of(one.words, "-x", *one.tests))
    return found[0] if found else NOTHING


def always_failing(tests: list[str]) -> list[str]:
    """The tests that fail without a fault."""
    if not tests:
        return []
    output = output_of("", *tests)
    return failed(output) if output else tests


def main() -> int:
    """Try the chosen faults; 0 if all were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", default="", metavar="WORD", help="faults with it in promise or words")
    word = parser.parse_args().only.lower()
    chosen = [one for one in FAULTS if word in f"{one.promise} {one.words}".lower()]
    wide = max((len(one.words) for one in chosen), default=0)
    found, heading = [], ""
    with ThreadPoolExecutor(2) as pool:
        for one, test in zip(chosen, pool.map(noticed_by, chosen)):
            if one.promise != heading:
                print(heading := one.promise, flush=True)
            found.append(test)
            print(f"  {one.words:{wide}}  {test}", flush=True)
    useless = always_failing(sorted({*found} - {NOTHING}))
    unnoticed = sum(test == NOTHING or test in useless for test in found)
    print(f"{len(found) - unnoticed} of {len(found)} faults noticed; tests that fail without any: {useless}")
    return 1 if unnoticed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
