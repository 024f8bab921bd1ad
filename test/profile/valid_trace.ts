/** The rules of the Trace Event Format that viewers rely on. */
import { expect } from "chai";
import type { TraceEvent } from "../../src/profile/trace.ts";

type Complete = Extract<TraceEvent, { ph: "X" }>;
type Arrow = Extract<TraceEvent, { ph: "s" | "f" }>;

/** The events of one kind. */
export const ofPhase = <Ph extends TraceEvent["ph"]>(events: readonly TraceEvent[], ph: Ph) =>
  events.filter((event): event is Extract<TraceEvent, { ph: Ph }> => event.ph === ph);

/** Fails where a trace breaks a rule of the Trace Event Format, of those that viewers rely on. */
export function expectValidTrace(text: string): TraceEvent[] {
  const trace = JSON.parse(text) as { traceEvents: TraceEvent[]; displayTimeUnit: string };
  expect(trace.displayTimeUnit).to.be.oneOf(["ms", "ns"]);
  const events = trace.traceEvents;
  for (const event of events) {
    expect(event.name, JSON.stringify(event)).to.be.a("string").and.not.empty;
    for (const field of ["ts", "pid", "tid"] as const)
      expect(event[field], `${field} of ${JSON.stringify(event)}`).to.be.a("number").and.finite;
    expect(event.ts, event.name).to.be.at.least(0);
  }
  const complete = ofPhase(events, "X");
  for (const { dur, name } of complete) expect(dur, name).to.be.at.least(0);
  expectNested(complete);
  expectArrows(complete, ofPhase(events, "s"), ofPhase(events, "f"));
  for (const { args, name } of ofPhase(events, "C"))
    for (const value of Object.values(args)) expect(value, name).to.be.a("number").and.finite;
  const metadata = ["process_name", "process_sort_index", "thread_name", "thread_sort_index"];
  for (const { name } of ofPhase(events, "M")) expect(metadata).to.include(name);
  expectNamed(events);
  return events;
}

/** Slices of one thread lie within each other or apart. */
function expectNested(events: readonly Complete[]): void {
  for (const thread of new Set(events.map(({ pid, tid }) => `${pid} ${tid}`))) {
    const open: Complete[] = [];
    const own = events.filter(({ pid, tid }) => `${pid} ${tid}` === thread);
    for (const event of own.sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
      while (open.length > 0 && endOf(open.at(-1)!) <= event.ts) open.pop();
      const outer = open.at(-1);
      if (outer) expect(endOf(event), `${event.name} in ${outer.name}`).to.be.at.most(endOf(outer));
      open.push(event);
    }
  }
}

/** In whole nanoseconds. */
const endOf = ({ ts, dur }: Complete): number => Math.round((ts + dur) * 1000) / 1000;

/** Each arrow has one start and one end, not earlier, each within a slice of its thread. */
function expectArrows(
  slices: readonly Complete[],
  starts: readonly Arrow[],
  ends: readonly Arrow[],
): void {
  const ids = starts.map(({ id }) => id);
  expect(new Set(ids).size).to.equal(ids.length);
  expect(ends.map(({ id }) => id)).to.have.members(ids);
  for (const end of ends) {
    const start = starts.find(({ id }) => id === end.id)!;
    expect(end).to.include({ bp: "e", cat: start.cat, name: start.name });
    expect(end.ts, `end of arrow ${end.id}`).to.be.at.least(start.ts);
  }
  for (const { pid, tid, ts, id } of [...starts, ...ends])
    expect(
      slices.some((s) => s.pid === pid && s.tid === tid && s.ts <= ts && ts <= endOf(s)),
      `arrow ${id} begins and ends in a slice`,
    ).to.be.true;
}

/** Every process and thread that events name has a name to show. */
function expectNamed(events: readonly TraceEvent[]): void {
  const named = ofPhase(events, "M");
  for (const { pid, tid } of ofPhase(events, "X")) {
    expect(named.some((m) => m.name === "process_name" && m.pid === pid)).to.be.true;
    expect(named.some((m) => m.name === "thread_name" && m.pid === pid && m.tid === tid)).to.be
      .true;
  }
}
