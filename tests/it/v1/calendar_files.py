"""Reads a calendar file with an independent library, and prints its events."""

import json
import sys

from icalendar import Calendar

calendar = Calendar.from_ical(sys.stdin.buffer.read())
assert calendar.errors == [], calendar.errors
events = []
for event in calendar.walk("VEVENT"):
    assert event.errors == [], event.errors
    events.append({
        "uid": str(event["UID"]),
        "summary": str(event["SUMMARY"]),
        "description": str(event["DESCRIPTION"]),
        "status": str(event["STATUS"]),
        "start": event["DTSTART"].dt.isoformat(),
        "end": event["DTEND"].dt.isoformat(),
        "stamp": event["DTSTAMP"].dt.isoformat(),
        "modified": event["LAST-MODIFIED"].dt.isoformat(),
        "sequence": int(event["SEQUENCE"]),
    })
json.dump({"name": str(calendar["X-WR-CALNAME"]), "events": events}, sys.stdout)
