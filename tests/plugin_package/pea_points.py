"""An exporter of another lab: the center of each object, as napari reads points."""

from pixel_embedded_affinity.export import write_table


class Points:
    suffix = "_points.csv"
    help = "the center of each object, as napari reads points"

    def write(self, path, result):
        centers = [values for name, values in result.table.items() if name.startswith("centroid-")]
        axes = {f"axis-{number}": values for number, values in enumerate(centers)}
        write_table(path, {"index": result.table["label"], **axes})
