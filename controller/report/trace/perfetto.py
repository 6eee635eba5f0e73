"""Tracks → Perfetto's own format: packets of its protobuf, gzipped where the file is to be."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    DebugAnnotation,
    InternedData,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from controller.report.trace.tracks import Args, Instant, Slice, Track, Value, grouped

SEQUENCE = 1
_CLEARED, _NEEDED = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED, TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
_BEGIN, _END = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END
_INSTANT, _COUNTER = TrackEvent.TYPE_INSTANT, TrackEvent.TYPE_COUNTER
_LEVEL = 6


def serialised(processes: Iterable[tuple[str, Sequence[Track]]], compressed: bool) -> bytes:
    """The trace of these processes, by name; the same tracks give the same bytes."""
    writer = _Writer()
    parts = [part for name, tracks in processes for part in writer.process(name, tracks)]
    whole = b"".join(parts)
    return gzip.compress(whole, _LEVEL, mtime=0) if compressed else whole


class _Names:
    """Strings that packets name by number: told once, in the packet that needs one first."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._numbers: dict[str, int] = {}

    def number(self, text: str, packet: TracePacket) -> int:
        """The number of a string, which the packet tells if none has before."""
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self._numbers) + 1
            data: InternedData = packet.interned_data
            getattr(data, self._field).add(iid=found, name=text)
        return found


class _Writer:
    """Writes processes one after another; all packets are one sequence."""

    def __init__(self) -> None:
        self._uuids, self._pids = count(1), count(1)
        self._names, self._categories = _Names("event_names"), _Names("event_categories")
        self._keys = _Names("debug_annotation_names")
        self._beginnings: dict[tuple[str, str, Args], bytes] = {}
        self._flags = _CLEARED | _NEEDED

    def process(self, name: str, tracks: Sequence[Track]) -> Iterator[bytes]:
        """The packets of a process and of its tracks, which keep their order."""
        builder = TraceProtoBuilder()
        process = self._descriptor(builder, next(self._uuids), name)
        process.process.pid = next(self._pids)
        process.process.process_name = name
        uuids = []
        for rank, (group, inside) in enumerate(grouped(tracks).items()):
            parent = process
            if group:
                parent = self._descriptor(builder, next(self._uuids), group, process.uuid, rank)
            for at, track in enumerate(inside):
                one = self._descriptor(builder, next(self._uuids), track.name, parent.uuid, at)
                if track.unit:
                    one.counter.unit_name = track.unit
                uuids.append((one.uuid, track))
        yield builder.serialize()
        yield from (self._events(uuid, track) for uuid, track in uuids)

    def _descriptor(
        self, builder: TraceProtoBuilder, uuid: int, name: str, parent: int = 0, rank: int = 0
    ) -> TrackDescriptor:
        packet = self._packet(builder, 0)
        track: TrackDescriptor = packet.track_descriptor
        track.uuid, track.name = uuid, name
        track.child_ordering = TrackDescriptor.EXPLICIT
        if parent:
            track.parent_uuid, track.sibling_order_rank = parent, rank
        return track

    def _events(self, uuid: int, track: Track) -> Any:
        builder = TraceProtoBuilder()
        for one in track.slices:
            self._slice(builder, uuid, one)
        for instant in track.instants:
            self._instant(builder, uuid, instant)
        for at_ns, value in track.values:
            self._value(builder, uuid, at_ns, value)
        return builder.serialize()

    def _slice(self, builder: TraceProtoBuilder, uuid: int, one: Slice) -> None:
        packet = self._packet(builder, one.start_ns)
        event = packet.track_event
        event.MergeFromString(self._beginning(one, packet))
        event.track_uuid = uuid
        if one.flows_in:
            event.terminating_flow_ids.extend(one.flows_in)
        if one.flows_out:
            event.flow_ids.extend(one.flows_out)
        self._tell(event, one.args, packet)
        end = self._packet(builder, one.end_ns).track_event
        end.type, end.track_uuid = _END, uuid

    def _beginning(self, one: Slice, packet: TracePacket) -> bytes:
        """What all slices like this one begin with: many are, and told once they need not be told field by field."""
        like = one.name, one.category, one.about
        found = self._beginnings.get(like)
        if found is None:
            event = TrackEvent(type=_BEGIN, name_iid=self._names.number(one.name, packet))
            event.category_iids.append(self._categories.number(one.category, packet))
            self._tell(event, one.about, packet)
            found = self._beginnings[like] = event.SerializeToString()
        return found

    def _instant(self, builder: TraceProtoBuilder, uuid: int, one: Instant) -> None:
        packet = self._packet(builder, one.at_ns)
        event = packet.track_event
        event.type, event.track_uuid, event.name = _INSTANT, uuid, one.name
        event.category_iids.append(self._categories.number(one.category, packet))

    def _value(self, builder: TraceProtoBuilder, uuid: int, at_ns: int, value: int | float) -> None:
        event = self._packet(builder, at_ns).track_event
        event.type, event.track_uuid = _COUNTER, uuid
        if isinstance(value, int):
            event.counter_value = value
        else:
            event.double_counter_value = value

    def _tell(self, event: TrackEvent, args: Args, packet: TracePacket) -> None:
        for key, value in args:
            note = event.debug_annotations.add(name_iid=self._keys.number(key, packet))
            _set(note, value)

    def _packet(self, builder: TraceProtoBuilder, at_ns: int) -> TracePacket:
        packet = builder.add_packet()
        packet.timestamp = at_ns
        packet.trusted_packet_sequence_id = SEQUENCE
        packet.sequence_flags, self._flags = self._flags, _NEEDED
        return packet


def _set(note: DebugAnnotation, value: Value) -> None:
    if isinstance(value, int):
        note.int_value = value
    elif isinstance(value, float):
        note.double_value = value
    else:
        note.string_value = value
