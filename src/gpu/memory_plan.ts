/**
 * Scratch memory of a program, planned before any of it exists: which tensors may lie in one buffer because they never
 * live at the same time. Whole buffers rather than parts of one: WebGPU refuses a dispatch that reads one part of a buffer
 * and writes another.
 */

/** When a scratch tensor lives: from `first` up to, not including, `last`, both counted in recorded events. */
export interface Lifetime {
  /** What errors call it. */
  readonly label: string;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

export interface MemoryPlan {
  /** Bytes of each buffer; those that were lent come first. */
  readonly bufferBytes: readonly number[];
  /** The largest tensor in each buffer. */
  readonly bufferLabels: readonly string[];
  /** The buffer of each tensor. */
  readonly bufferOf: readonly number[];
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

/**
 * Largest first, each into the smallest buffer in which nothing lives at the same time: a tensor never makes a buffer
 * larger, so the first ones decide.
 * @param lent bytes of buffers that are there anyway
 */
export function planMemory(
  lifetimes: readonly Lifetime[],
  lent: readonly number[] = [],
): MemoryPlan {
  const bufferBytes = [...lent];
  const bufferLabels = lent.map(() => "lent");
  const tenants: Lifetime[][] = lent.map(() => []);
  const bufferOf = new Array<number>(lifetimes.length).fill(-1);
  const order = lifetimes
    .map((lifetime, index) => ({ lifetime, index }))
    .sort((a, b) => b.lifetime.bytes - a.lifetime.bytes || a.index - b.index);
  for (const { lifetime, index } of order) {
    let best = -1;
    bufferBytes.forEach((bytes, buffer) => {
      const smaller = best < 0 || bytes < (bufferBytes[best] ?? 0);
      const free = !(tenants[buffer] ?? []).some((tenant) => overlap(tenant, lifetime));
      if (bytes >= lifetime.bytes && smaller && free) best = buffer;
    });
    if (best < 0) {
      best = bufferBytes.push(lifetime.bytes) - 1;
      bufferLabels.push(lifetime.label);
      tenants.push([]);
    }
    tenants[best]?.push(lifetime);
    bufferOf[index] = best;
  }
  return { bufferBytes, bufferLabels, bufferOf };
}

/** What the plan takes, beside what a buffer for each tensor would and what no plan can do without. */
export function scratchMemory(lifetimes: readonly Lifetime[], plan: MemoryPlan): ScratchMemory {
  const used = new Set(plan.bufferOf);
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
    plannedBytes: plan.bufferBytes.reduce((sum, b, i) => sum + (used.has(i) ? b : 0), 0),
    liveBytes,
  };
}

function overlap(a: Lifetime, b: Lifetime): boolean {
  return a.first < b.last && b.first < a.last;
}
