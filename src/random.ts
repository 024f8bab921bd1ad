/**
 * Random numbers of the host: Philox4x32-10, the counter-based generator that the dropout kernel uses too
 * (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). No dependencies on library code.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

export type Words4 = [number, number, number, number];

/** Philox4x32-10 of Random123: ten rounds over `counter` with `key`; four uint32 words. */
export function philox4x32(counter: Readonly<Words4>, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply32(MULTIPLIER_0, c0);
    const [high1, low1] = multiply32(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The 64-bit product of two uint32, as [high, low] words. */
function multiply32(a: number, b: number): [number, number] {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const middle2 = aLow * bHigh + (middle & 0xffff);
  const high = aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(middle2 / 65536);
  return [high >>> 0, (((middle2 & 0xffff) << 16) | (low & 0xffff)) >>> 0];
}

/** Splits a seed (any safe integer >= 0) into the low and high key words of Philox. */
export function seedWords(seed: number): [number, number] {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`seed: expected an integer from 0 to 2^53 - 1, got ${seed}`);
  return [seed >>> 0, Math.floor(seed / 2 ** 32)];
}

/** FNV-1a of a text: names a stream of random numbers by what it is for. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/**
 * A stream of random numbers, the same on every machine, that depends on nothing but its arguments:
 * `new Random(seed, "shuffle", epoch)` needs no state to be saved to be continued.
 */
export class Random {
  readonly #key: [number, number];
  readonly #stream: number;
  readonly #index: number;
  #block = 0;
  #words: Words4 = [0, 0, 0, 0];
  #used = 4;

  constructor(seed: number, purpose: string, index = 0) {
    this.#key = seedWords(seed);
    this.#stream = hashText(purpose);
    this.#index = index;
  }

  /** A uint32. */
  uint32(): number {
    if (this.#used === 4) {
      this.#words = philox4x32(
        [this.#block++, this.#index >>> 0, Math.floor(this.#index / 2 ** 32), this.#stream],
        this.#key,
      );
      this.#used = 0;
    }
    return this.#words[this.#used++] ?? 0;
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** An integer, uniform in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** The integers 0..count-1 in random order (Fisher and Yates). */
  permutation(count: number): Uint32Array {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const other = order[j] ?? 0;
      order[j] = order[i] ?? 0;
      order[i] = other;
    }
    return order;
  }
}
