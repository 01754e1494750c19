from pathlib import Path

LIST = Path(__file__).parents[2] / "benchmarks" / "emotify_development.txt"


def test_it_names_80_different_tracks_of_the_four_genres_in_order():
    track_ids = LIST.read_text("utf-8").splitlines()
    assert len(track_ids) == len(set(track_ids)) == 80
    assert track_ids == sorted(track_ids)
    genres = {track_id.split("/")[0] for track_id in track_ids}
    assert genres == {"classical", "electronic", "pop", "rock"}
    assert all(
        track_id.startswith(f"{genre}/{genre}.") for genre in genres for track_id in track_ids if genre in track_id
    )
