"""The recipes of the ten synthetic genres: what a track of each may sound like, as ranges and probabilities.

A (low, high) pair is a range from which every track draws uniformly. A pattern has one character per step of a bar:
'9' always sounds, '1' to '8' sound with that many ninths of certainty, '.' never; spaces only mark the beats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

Range = tuple[float, float]

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
MIXOLYDIAN = (0, 2, 4, 5, 7, 9, 10)
PHRYGIAN = (0, 1, 3, 5, 7, 8, 10)
TRIAD, SEVENTH, POWER = (0, 2, 4), (0, 2, 4, 6), (0, 4, 7)


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Tempo and metre: patterns of one bar for the drums and for the instruments.

    `swing` delays every second step by that fraction of a step; `arpeggio` is the probability that a chord is
    played one note after the other.
    """

    tempo_bpm: Range
    steps_per_beat: int = 4
    swing: Range = (0.0, 0.1)
    arpeggio: float = 0.1
    kick: str
    snare: str
    hat: str
    bass: str
    chords: str
    lead: str

    def __post_init__(self) -> None:
        patterns = {f.name: getattr(self, f.name).replace(" ", "") for f in fields(self) if f.type is str}
        lengths = {name: len(pattern) for name, pattern in patterns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the patterns of a rhythm must have the same number of steps, got {lengths}")


@dataclass(frozen=True, kw_only=True)
class Harmony:
    """A scale in semitones, chord progressions (scale degrees from 0, one a bar) and the degrees a chord stacks."""

    scale: tuple[int, ...]
    progressions: tuple[tuple[int, ...], ...]
    stack: tuple[int, ...] = TRIAD


@dataclass(frozen=True, kw_only=True)
class Timbre:
    """The tone of chords and lead.

    Partial k has amplitude k ** -rolloff, times `even` when k is even. `vibrato` is in semitones, `drive` the gain
    before the distortion (near 0: clean), `register` the MIDI pitch of the lowest key.
    """

    register: int
    rolloff: Range
    even: Range = (0.6, 1.0)
    attack_s: Range = (0.002, 0.01)
    decay_s: Range
    vibrato: Range = (0.0, 0.05)
    drive: Range = (0.02, 0.3)


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Levels in dB relative to the chords (root mean square), and the corner of the final low-pass in Hz."""

    bass_db: Range
    lead_db: Range
    drums_db: Range
    noise_db: Range
    cutoff_hz: Range


@dataclass(frozen=True, kw_only=True)
class Genre:
    """One synthetic genre: four traits, each of which a track may now and then borrow from another genre."""

    rhythm: Rhythm
    harmony: Harmony
    timbre: Timbre
    mix: Mix


GENRES: Mapping[str, Genre] = MappingProxyType(
    {
        "blues": Genre(
            rhythm=Rhythm(
                tempo_bpm=(62, 120),
                steps_per_beat=3,
                kick="8.. 1.. 7.. 1.2",
                snare="... 8.. ... 8..",
                hat="8.6 8.6 8.6 8.6",
                bass="9.2 8.3 9.2 8.3",
                chords="7.2 4.4 5.2 4.4",
                lead="312 424 423 313",
            ),
            harmony=Harmony(
                scale=MIXOLYDIAN,
                progressions=((0, 0, 3, 0, 4, 3, 0, 4), (0, 3, 0, 0, 3, 3, 0, 4)),
                stack=SEVENTH,
            ),
            timbre=Timbre(register=45, rolloff=(0.9, 1.6), decay_s=(0.25, 0.7), vibrato=(0.0, 0.3), drive=(0.3, 1.5)),
            mix=Mix(bass_db=(-4, 2), lead_db=(0, 6), drums_db=(-10, -3), noise_db=(-40, -20), cutoff_hz=(2500, 5500)),
        ),
        "classical": Genre(
            rhythm=Rhythm(
                tempo_bpm=(60, 150),
                swing=(0.0, 0.05),
                arpeggio=0.6,
                kick="1... .... ....",
                snare=".... .... ....",
                hat=".... .... ....",
                bass="8... 2... 3...",
                chords="8.3. 6.3. 6.3.",
                lead="7.2. 5.31 5.31",
            ),
            harmony=Harmony(scale=MAJOR, progressions=((0, 3, 4, 0), (0, 1, 4, 0), (0, 5, 1, 4), (0, 4, 5, 2))),
            timbre=Timbre(
                register=50, rolloff=(1.1, 2.2), attack_s=(0.01, 0.12), decay_s=(0.4, 1.5), vibrato=(0.0, 0.4)
            ),
            mix=Mix(bass_db=(-8, 0), lead_db=(-2, 6), drums_db=(-22, -12), noise_db=(-50, -30), cutoff_hz=(2500, 7000)),
        ),
        "country": Genre(
            rhythm=Rhythm(
                tempo_bpm=(84, 136),
                swing=(0.0, 0.25),
                arpeggio=0.5,
                kick="9... .... 8.1. ....",
                snare=".... 8..1 .... 8.2.",
                hat="6.3. 7.3. 6.3. 7.3.",
                bass="9... 1... 9... 2...",
                chords="3.4. 8.5. 3.4. 8.5.",
                lead="3.3. 3.32 4.3. 3.3.",
            ),
            harmony=Harmony(scale=MAJOR, progressions=((0, 0, 3, 0), (0, 3, 0, 4), (0, 4, 3, 0), (0, 3, 4, 4))),
            timbre=Timbre(register=52, rolloff=(0.5, 1.0), decay_s=(0.12, 0.4), vibrato=(0.0, 0.3), drive=(0.02, 0.5)),
            mix=Mix(bass_db=(-4, 2), lead_db=(-3, 4), drums_db=(-12, -4), noise_db=(-48, -28), cutoff_hz=(4500, 9500)),
        ),
        "disco": Genre(
            rhythm=Rhythm(
                tempo_bpm=(104, 134),
                kick="9... 9... 9... 9...",
                snare=".... 9... .... 9..1",
                hat="4.9. 4.9. 4.9. 4.9.",
                bass="9.8. 7.8. 9.8. 7.8.",
                chords="5..4 ..5. .3.. 5.4.",
                lead="4... 3... 3..2 3...",
            ),
            harmony=Harmony(scale=DORIAN, progressions=((0, 3), (0, 6, 5, 4), (0, 3, 6, 0)), stack=SEVENTH),
            timbre=Timbre(register=52, rolloff=(0.7, 1.3), attack_s=(0.003, 0.03), decay_s=(0.1, 0.4)),
            mix=Mix(bass_db=(0, 6), lead_db=(-9, -1), drums_db=(0, 7), noise_db=(-48, -28), cutoff_hz=(5500, 10500)),
        ),
        "hiphop": Genre(
            rhythm=Rhythm(
                tempo_bpm=(76, 108),
                swing=(0.1, 0.5),
                kick="9..3 ..4. 2.7. .3..",
                snare=".... 9... ...1 9..1",
                hat="8383 8383 8383 8383",
                bass="9..2 ..3. ..6. .2..",
                chords="7... ..2. 3... ..1.",
                lead="2.11 2.11 2.11 1.11",
            ),
            harmony=Harmony(scale=MINOR, progressions=((0,), (0, 5), (0, 0, 3, 4), (0, 6))),
            timbre=Timbre(register=50, rolloff=(1.1, 2.2), attack_s=(0.003, 0.06), decay_s=(0.2, 0.9)),
            mix=Mix(bass_db=(3, 9), lead_db=(-9, -1), drums_db=(1, 8), noise_db=(-36, -16), cutoff_hz=(3500, 9500)),
        ),
        "jazz": Genre(
            rhythm=Rhythm(
                tempo_bpm=(90, 210),
                steps_per_beat=3,
                kick="3.. 2.. 3.. 2.1",
                snare="..1 1.3 ..2 1.2",
                hat="9.. 9.7 9.. 9.7",
                bass="9.. 9.1 9.. 9.1",
                chords="3.2 1.4 ..3 2.2",
                lead="4.3 5.4 4.3 5.4",
            ),
            harmony=Harmony(
                scale=MAJOR,
                progressions=((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4), (1, 4, 0, 0)),
                stack=(0, 2, 4, 6, 8),
            ),
            timbre=Timbre(register=50, rolloff=(1.4, 2.3), decay_s=(0.12, 0.45), vibrato=(0.0, 0.25)),
            mix=Mix(bass_db=(-1, 5), lead_db=(0, 7), drums_db=(-8, -1), noise_db=(-44, -24), cutoff_hz=(3000, 7000)),
        ),
        "metal": Genre(
            rhythm=Rhythm(
                tempo_bpm=(96, 190),
                swing=(0.0, 0.03),
                arpeggio=0.0,
                kick="9.65 5.65 9.65 5.65",
                snare=".... 9... .... 9.11",
                hat="7.3. 7.3. 7.3. 7.3.",
                bass="9.65 6.65 8.65 6.65",
                chords="9.65 6.65 8.65 6.65",
                lead="2.2. 2.22 2.2. 2.22",
            ),
            harmony=Harmony(
                scale=PHRYGIAN, progressions=((0, 0, 1, 0), (0, 5, 6, 0), (0, 1, 2, 1), (0, 0, 5, 1)), stack=POWER
            ),
            timbre=Timbre(register=38, rolloff=(0.6, 1.2), decay_s=(0.15, 0.8), vibrato=(0.0, 0.3), drive=(4, 14)),
            mix=Mix(bass_db=(-8, 0), lead_db=(-10, -2), drums_db=(-7, 1), noise_db=(-38, -20), cutoff_hz=(4500, 10500)),
        ),
        "pop": Genre(
            rhythm=Rhythm(
                tempo_bpm=(88, 134),
                kick="9... 4... 7.3. 4...",
                snare=".... 9... .... 9...",
                hat="7.6. 7.6. 7.6. 7.6.",
                bass="9..3 ..5. 6... 4...",
                chords="8... 4..3 5... 4...",
                lead="5.4. 5.4. 5.4. 4.3.",
            ),
            harmony=Harmony(scale=MAJOR, progressions=((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (3, 4, 0, 0))),
            timbre=Timbre(
                register=55, rolloff=(0.8, 1.5), attack_s=(0.003, 0.05), decay_s=(0.3, 0.9), vibrato=(0.0, 0.35)
            ),
            mix=Mix(bass_db=(-4, 3), lead_db=(2, 9), drums_db=(-5, 2), noise_db=(-50, -30), cutoff_hz=(6000, 10500)),
        ),
        "reggae": Genre(
            rhythm=Rhythm(
                tempo_bpm=(66, 96),
                swing=(0.0, 0.4),
                arpeggio=0.0,
                kick="2... .... 9... ..1.",
                snare="1... ...1 9... ..2.",
                hat="6.4. 7.4. 6.4. 7.4.",
                bass="6..5 6.3. 2..5 6.3.",
                chords=".... 9.2. .... 9.2.",
                lead="2.2. 2.2. 2.2. 2.2.",
            ),
            harmony=Harmony(scale=MINOR, progressions=((0, 3), (0, 6), (0, 0, 3, 4), (0, 5, 6, 0))),
            timbre=Timbre(register=54, rolloff=(0.9, 1.7), decay_s=(0.06, 0.25), vibrato=(0.0, 0.2)),
            mix=Mix(bass_db=(3, 9), lead_db=(-5, 3), drums_db=(-4, 3), noise_db=(-46, -26), cutoff_hz=(2500, 6500)),
        ),
        "rock": Genre(
            rhythm=Rhythm(
                tempo_bpm=(92, 156),
                arpeggio=0.05,
                kick="9.1. .... 8.5. ..2.",
                snare=".... 9... .... 9..1",
                hat="8.6. 8.6. 8.6. 8.6.",
                bass="9.6. 7.6. 8.6. 7.6.",
                chords="8.4. 5.4. 6.4. 5.4.",
                lead="4.2. 3.2. 4.2. 3.22",
            ),
            harmony=Harmony(
                scale=MIXOLYDIAN, progressions=((0, 6, 3, 0), (0, 3, 4, 3), (0, 4, 6, 3), (0, 3, 0, 4)), stack=POWER
            ),
            timbre=Timbre(register=43, rolloff=(0.7, 1.4), decay_s=(0.25, 0.9), vibrato=(0.0, 0.3), drive=(1.2, 5)),
            mix=Mix(bass_db=(-5, 2), lead_db=(-5, 2), drums_db=(-3, 4), noise_db=(-44, -24), cutoff_hz=(4000, 9000)),
        ),
    }
)
