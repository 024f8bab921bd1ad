/**
 * Scratch memory of a program, planned before any of it exists: which tensors share buffers, and where in them they lie,
 * so that those that never live at the same time may lie in one place.
 *
 * One buffer for all would be simplest, but WebGPU refuses a dispatch that reads one part of a buffer and writes another:
 * tensors that meet in a dispatch lie in different buffers.
 */

/** When a scratch tensor lives: from `first` up to, not including, `last`, both counted in recorded events. */
export interface Lifetime {
  /** What errors call it. */
  readonly label: string;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
  /** The indices of tensors with which it may not share a buffer. */
  readonly meets: ReadonlySet<number>;
}

/** Where a tensor lies. */
export interface Place {
  readonly buffer: number;
  readonly offsetBytes: number;
}

export interface MemoryPlan {
  /** Bytes of each buffer, and what errors call it; those that were lent come first. */
  readonly buffers: readonly { readonly bytes: number; readonly label: string }[];
  /** The place of each tensor. */
  readonly places: readonly Place[];
}

/** What a program's scratch memory takes, in bytes. */
export interface ScratchMemory {
  /** A buffer for each tensor. */
  readonly naiveBytes: number;
  /** As planned, with the buffers that were lent and are used. */
  readonly plannedBytes: number;
  /** The most that lives at one time: no plan needs less. */
  readonly liveBytes: number;
}

/** A planned tensor as a program uses it. */
export interface ScratchLife extends Place {
  readonly label: string;
  readonly bytes: number;
  /** The first and the last command of the program, counted from 0, that touch it. */
  readonly first: number;
  readonly last: number;
}

export interface PlanLimits {
  /** Tensors start at multiples of this. */
  readonly alignment: number;
  readonly maxBufferBytes: number;
}

interface PlannedBuffer {
  bytes: number;
  readonly label: string;
  readonly lent: boolean;
  readonly tenants: { readonly index: number; readonly offsetBytes: number }[];
}

/**
 * Largest first, each where it makes the buffers grow least: by nothing where there is room for as long as it lives.
 * @param lent bytes of buffers that are there anyway
 */
export function planMemory(
  lifetimes: readonly Lifetime[],
  { alignment, maxBufferBytes }: PlanLimits,
  lent: readonly number[] = [],
): MemoryPlan {
  const buffers: PlannedBuffer[] = lent.map((bytes) => ({
    ...{ bytes, label: "lent", lent: true, tenants: [] },
  }));
  const places = new Array<Place>(lifetimes.length);
  const order = lifetimes
    .map((lifetime, index) => ({ lifetime, index }))
    .sort((a, b) => b.lifetime.bytes - a.lifetime.bytes || a.index - b.index);
  for (const { lifetime, index } of order) {
    let best: { buffer: number; offsetBytes: number; growth: number } = {
      ...{ buffer: buffers.length, offsetBytes: 0, growth: lifetime.bytes },
    };
    buffers.forEach((buffer, at) => {
      if (buffer.tenants.some((tenant) => lifetime.meets.has(tenant.index))) return;
      const offsetBytes = lowestOffset(buffer, lifetime, lifetimes, alignment);
      const growth = Math.max(0, offsetBytes + lifetime.bytes - buffer.bytes);
      const allowed = growth === 0 || (!buffer.lent && buffer.bytes + growth <= maxBufferBytes);
      if (allowed && growth < best.growth) best = { buffer: at, offsetBytes, growth };
    });
    const { buffer: at, offsetBytes, growth } = best;
    const buffer = buffers[at] ?? { bytes: 0, label: lifetime.label, lent: false, tenants: [] };
    buffers[at] = buffer;
    buffer.bytes += growth;
    buffer.tenants.push({ index, offsetBytes });
    places[index] = { buffer: at, offsetBytes };
  }
  return { buffers, places };
}

/** The lowest offset at which nothing else lies while the tensor lives. */
function lowestOffset(
  { tenants }: PlannedBuffer,
  lifetime: Lifetime,
  lifetimes: readonly Lifetime[],
  alignment: number,
): number {
  const taken = tenants
    .map(({ index, offsetBytes }) => ({ offsetBytes, other: lifetimes[index] ?? lifetime }))
    .filter(({ other }) => other.first < lifetime.last && lifetime.first < other.last)
    .sort((a, b) => a.offsetBytes - b.offsetBytes);
  let offset = 0;
  for (const { offsetBytes, other } of taken) {
    if (offset + lifetime.bytes <= offsetBytes) break;
    const end = Math.ceil((offsetBytes + other.bytes) / alignment) * alignment;
    offset = Math.max(offset, end);
  }
  return offset;
}

/** What the plan takes, beside what a buffer for each tensor would and what no plan can do without. */
export function scratchMemory(lifetimes: readonly Lifetime[], plan: MemoryPlan): ScratchMemory {
  const used = new Set(plan.places.map(({ buffer }) => buffer));
  const changes = lifetimes.flatMap(({ bytes, first, last }) => [
    { at: first, bytes },
    { at: last, bytes: -bytes },
  ]);
  let live = 0;
  let liveBytes = 0;
  // At one event the dead go first.
  for (const { bytes } of changes.sort((a, b) => a.at - b.at || a.bytes - b.bytes)) {
    live += bytes;
    liveBytes = Math.max(liveBytes, live);
  }
  return {
    naiveBytes: lifetimes.reduce((sum, { bytes }) => sum + bytes, 0),
    plannedBytes: plan.buffers.reduce((sum, { bytes }, i) => sum + (used.has(i) ? bytes : 0), 0),
    liveBytes,
  };
}
