import dataclasses

from tfrecords.info import aligned, describe, part_label_table


def test_the_table_of_parts_and_labels(own):
    parts = dict(own.manifest.parts)
    parts["fold_1"] = dataclasses.replace(parts["fold_1"], tracks={"blues": 0, "jazz": 5, "rock": 1})
    assert part_label_table(dataclasses.replace(own.manifest, parts=parts)).splitlines() == [
        "part    blues  jazz  rock  all",
        "fold_0      2     2     2    6",
        "fold_1      0     5     1    6",
        "fold_2      2     2     2    6",
        "all         4     9     5   18",
    ]


def test_the_description_holds_what_one_asks_for(own):
    lines = describe(own.manifest).splitlines()
    size = sum(path.stat().st_size for path in own.shards("fold_0", "fold_1", "fold_2"))
    frames = sum(len(record.log_mel) for records in own.records.values() for record in records)
    assert lines[0] == f"tiny: 18 records in 6 shards, {size / 1e6:.1f} MB, {frames * 512 / 22050 / 3600:.2f} hours"
    for line in (
        "front end: sample_rate 22050, frame_length 1024, hop_length 512, compression log10, n_mels 4",
        "records: [frames, 4] float16",
        "split: method given, grouped True, group_safe True",
        "rejects: 2 too_short",
        f"fingerprint: {'f' * 64}",
    ):
        assert line in lines
    assert "rejects: none" in describe(dataclasses.replace(own.manifest, rejects={}))
    assert part_label_table(own.manifest) in describe(own.manifest)


def test_alignment():
    assert aligned([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"
    assert aligned([["left", ""], ["x", ""]]) == "left\nx"
