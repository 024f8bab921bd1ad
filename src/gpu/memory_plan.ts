/**
 * Scratch memory of a program, planned before any of it exists: which tensors share buffers, and where in them they lie,
 * so that those that never live at the same time may lie in one place.
 *
 * One buffer for all would be simplest, but WebGPU refuses a dispatch that reads one part of a buffer and writes another:
 * what a dispatch reads and what it writes lie in different buffers.
 */

/** When a scratch tensor lives: from `first` up to, not including, `last`, both counted in recorded commands. */
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
  /** By their offset, the lowest first. */
  readonly tenants: { readonly index: number; readonly offsetBytes: number }[];
}

/** A plan, and the bytes of its buffers that were not lent. */
interface Placement extends MemoryPlan {
  readonly ownBytes: number;
}

/** How many orders of placing the tensors are tried at most. */
const MAX_ORDERS = 150;
/** Of many tensors fewer are: one order may take the square of their number, and recording should not wait for long. */
const MAX_PAIRS = 1e7;
/** A tensor smaller than this part of the plan is not worth another order, ... */
const WORTH_MOVING = 0.01;
/** ... nor is one that saves less than this part of it. Most are given up after their few largest tensors. */
const WORTH_TAKING = 0.001;

/**
 * Places tensors one by one, the largest first; then brings one after another to the front of that order, to stay there
 * where this saves memory. For the training steps of our networks that finds a plan as small as an exact solver's, or
 * nearly: see docs/performance.md.
 * @param lent bytes of buffers that are there anyway
 */
export function planMemory(
  lifetimes: readonly Lifetime[],
  limits: PlanLimits,
  lent: readonly number[] = [],
): MemoryPlan {
  let order = lifetimes
    .map(({ bytes }, index) => ({ bytes, index }))
    .sort((a, b) => b.bytes - a.bytes || a.index - b.index)
    .map(({ index }) => index);
  let best = placeInOrder(order, lifetimes, limits, lent) ?? {
    buffers: [],
    places: [],
    ownBytes: 0,
  };
  const lentBytes = lent.reduce((sum, bytes) => sum + bytes, 0);
  const enough = Math.max(0, liveBytesOf(lifetimes) - lentBytes);
  const count = order.length;
  let left = Math.min(MAX_ORDERS, Math.floor(MAX_PAIRS / count ** 2));
  // Round and round, until none of them saves anything any more.
  for (let at = 1, inVain = 1; inVain < count; at = (at % (count - 1)) + 1, inVain++) {
    if (left === 0 || best.ownBytes <= enough) break;
    const moved = order.slice(at, at + 1);
    const bytes = lifetimes[moved[0] ?? -1]?.bytes ?? 0;
    if (bytes < WORTH_MOVING * best.ownBytes) continue;
    const tried = [...moved, ...order.slice(0, at), ...order.slice(at + 1)];
    const most = (1 - WORTH_TAKING) * best.ownBytes;
    const placement = placeInOrder(tried, lifetimes, limits, lent, most);
    left--;
    if (placement) [best, order, inVain] = [placement, tried, 0];
  }
  return { buffers: best.buffers, places: best.places };
}

/**
 * Each tensor where it makes the buffers grow least: by nothing where there is room for as long as it lives.
 * @returns undefined where that takes `limitBytes` or more beside what is lent
 */
function placeInOrder(
  order: readonly number[],
  lifetimes: readonly Lifetime[],
  { alignment, maxBufferBytes }: PlanLimits,
  lent: readonly number[],
  limitBytes = Infinity,
): Placement | undefined {
  const buffers: PlannedBuffer[] = lent.map((bytes) => ({
    ...{ bytes, label: "lent", lent: true, tenants: [] },
  }));
  const places = new Array<Place>(lifetimes.length);
  let ownBytes = 0;
  for (const index of order) {
    const lifetime = lifetimes[index];
    if (!lifetime) continue;
    const met = new Set([...lifetime.meets].map((other) => places[other]?.buffer));
    let best = { buffer: buffers.length, offsetBytes: 0, growth: lifetime.bytes };
    for (const [at, buffer] of buffers.entries()) {
      if (best.growth === 0) break;
      if (met.has(at)) continue;
      const offsetBytes = lowestOffset(buffer, lifetime, lifetimes, alignment);
      const growth = Math.max(0, offsetBytes + lifetime.bytes - buffer.bytes);
      const allowed = growth === 0 || (!buffer.lent && buffer.bytes + growth <= maxBufferBytes);
      if (allowed && growth < best.growth) best = { buffer: at, offsetBytes, growth };
    }
    const { buffer: at, offsetBytes, growth } = best;
    ownBytes += growth;
    if (ownBytes >= limitBytes) return undefined;
    const buffer = (buffers[at] ??= {
      ...{ bytes: 0, label: lifetime.label, lent: false, tenants: [] },
    });
    buffer.bytes += growth;
    const above = buffer.tenants.findIndex((tenant) => tenant.offsetBytes > offsetBytes);
    buffer.tenants.splice(above < 0 ? buffer.tenants.length : above, 0, { index, offsetBytes });
    places[index] = { buffer: at, offsetBytes };
  }
  return { buffers, places, ownBytes };
}

/** The lowest offset at which nothing else lies while the tensor lives. */
function lowestOffset(
  { tenants }: PlannedBuffer,
  lifetime: Lifetime,
  lifetimes: readonly Lifetime[],
  alignment: number,
): number {
  let offset = 0;
  for (const { index, offsetBytes } of tenants) {
    const other = lifetimes[index];
    if (!other || other.first >= lifetime.last || lifetime.first >= other.last) continue;
    if (offset + lifetime.bytes <= offsetBytes) break;
    const end = Math.ceil((offsetBytes + other.bytes) / alignment) * alignment;
    offset = Math.max(offset, end);
  }
  return offset;
}

/** What the plan takes, beside what a buffer for each tensor would and what no plan can do without. */
export function scratchMemory(lifetimes: readonly Lifetime[], plan: MemoryPlan): ScratchMemory {
  const used = new Set(plan.places.map(({ buffer }) => buffer));
  return {
    naiveBytes: lifetimes.reduce((sum, { bytes }) => sum + bytes, 0),
    plannedBytes: plan.buffers.reduce((sum, { bytes }, i) => sum + (used.has(i) ? bytes : 0), 0),
    liveBytes: liveBytesOf(lifetimes),
  };
}

/** The most that lives at one time. */
function liveBytesOf(lifetimes: readonly Lifetime[]): number {
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
  return liveBytes;
}
