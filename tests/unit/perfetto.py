"""A trace read back by Perfetto's own schema, as its trace processor reads it: names looked up, slices by track."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent


@dataclass
class Slice:
    """A slice with what is told of it; times in nanoseconds."""

    name: str
    category: str
    start_ns: int
    args: dict[str, Any]
    flows_out: list[int]
    flows_in: list[int]
    end_ns: int = -1


@dataclass
class Track:
    """A track under the names of those above it, with its events in the order of the file."""

    path: tuple[str, ...]
    pid: int
    unit: str = ""
    slices: list[Slice] = field(default_factory=list)
    deepest: int = 0
    times_ns: list[int] = field(default_factory=list)
    values: list[tuple[int, float]] = field(default_factory=list)
    instants: list[tuple[int, str]] = field(default_factory=list)


def parsed(file: Path) -> dict[tuple[str, ...], Track]:
    """The tracks of a trace by their path: process, group, name. AssertionError for what a trace must not hold."""
    content = file.read_bytes()
    trace = Trace.FromString(gzip.decompress(content) if file.suffix == ".gz" else content)
    names: dict[str, dict[int, str]] = {"event_names": {}, "event_categories": {}, "debug_annotation_names": {}}
    tracks: dict[int, Track] = {}
    open_slices: dict[int, list[Slice]] = {}
    for packet in trace.packet:
        for kind, known in names.items():
            for one in getattr(packet.interned_data, kind):
                assert one.iid not in known
                known[one.iid] = one.name
        if packet.HasField("track_descriptor"):
            it = packet.track_descriptor
            above = tracks[it.parent_uuid].path if it.parent_uuid else ()
            assert it.uuid not in tracks
            tracks[it.uuid] = Track((*above, it.name), it.process.pid, it.counter.unit_name)
        if packet.HasField("track_event"):
            event = packet.track_event
            _add(packet.timestamp, event, tracks[event.track_uuid], open_slices.setdefault(event.track_uuid, []), names)
    assert not any(open_slices.values()), "a slice has no end"
    found = {track.path: track for track in tracks.values()}
    assert len(found) == len(tracks), "two tracks have one name"
    return found


def _add(at_ns: int, event: Any, track: Track, stack: list[Slice], names: dict[str, dict[int, str]]) -> None:
    track.times_ns.append(at_ns)
    if event.type == TrackEvent.TYPE_SLICE_BEGIN:
        args = {
            names["debug_annotation_names"][note.name_iid]: getattr(note, note.WhichOneof("value"))
            for note in event.debug_annotations
        }
        (category,) = (names["event_categories"][iid] for iid in event.category_iids)
        flows = list(event.flow_ids), list(event.terminating_flow_ids)
        stack.append(Slice(names["event_names"][event.name_iid], category, at_ns, args, *flows))
        track.slices.append(stack[-1])
        track.deepest = max(track.deepest, len(stack))
    elif event.type == TrackEvent.TYPE_SLICE_END:
        stack.pop().end_ns = at_ns
    elif event.type == TrackEvent.TYPE_COUNTER:
        number = event.counter_value if event.HasField("counter_value") else event.double_counter_value
        track.values.append((at_ns, number))
    else:
        track.instants.append((at_ns, event.name))
