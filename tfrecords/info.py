"""A dataset in words: what `python -m tfrecords info` prints."""

from tfrecords.manifest import Manifest


def part_label_table(manifest: Manifest) -> str:
    """Tracks per part and label, aligned, with totals."""
    header = ["part", *manifest.labels, "all"]
    rows = [
        [name, *(str(part.tracks[label]) for label in manifest.labels), str(sum(part.tracks.values()))]
        for name, part in manifest.parts.items()
    ]
    total = manifest.tracks(["all"])
    rows.append(["all", *(str(count) for count in total.values()), str(sum(total.values()))])
    return aligned([header, *rows])


def aligned(rows: list[list[str]]) -> str:
    """Rows as text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    )


def describe(manifest: Manifest) -> str:
    """Several lines: sizes, front end, split, rejects, tracks per part and label, fingerprint."""
    parts = manifest.parts.values()
    shards = [shard for part in parts for shard in part.shards]
    frames = sum(shard.frames for shard in shards)
    rejects = ", ".join(f"{count} {reason}" for reason, count in manifest.rejects.items()) or "none"
    lines = [
        f"{manifest.name}: {sum(part.records for part in parts)} records in {len(shards)} shards, "
        f"{sum(shard.bytes for shard in shards) / 1e6:.1f} MB, {frames / manifest.frames_per_s / 3600:.2f} hours",
        "front end: " + ", ".join(f"{name} {value}" for name, value in manifest.front_end.items()),
        f"records: [frames, {manifest.mel_bands}] {manifest.dtype}",
        "split: " + ", ".join(f"{name} {value}" for name, value in manifest.split.items()),
        f"rejects: {rejects}",
        f"fingerprint: {manifest.fingerprint}",
        "",
        part_label_table(manifest),
    ]
    return "\n".join(lines)
