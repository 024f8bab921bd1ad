/**
 * How tests skip: with a reason that is printed. A bare `this.skip()` leaves a dash before a title and nobody the wiser;
 * lint refuses it.
 */
import type { Device } from "../../src/gpu/device.ts";
import { subgroupUnsupported } from "../../src/kernels/subgroup.ts";
import { messageOf } from "../../src/system_errors.ts";

/**
 * Skips the running test, its title then ending in the reason; from a `before` hook all tests of the suite, with the reason
 * once above them.
 */
export function skip(context: Mocha.Context, reason: string): never {
  const { test, currentTest } = context;
  const why = reason.replace(/\s+/g, " "); // one line, whatever was thrown
  if (test?.title.startsWith('"before all" hook')) {
    const depth = test.parent?.titlePath().length ?? 0;
    console.log(`${"  ".repeat(depth + 1)}(all skipped: ${why})`);
  } else {
    const skipped = currentTest ?? test; // in a hook, and in the test itself
    if (skipped) skipped.title += ` (skipped: ${why})`;
  }
  context.skip();
}

/** Goes on only where `condition` holds. The reason says what is needed, and how to come by it if that is known. */
export function skipUnless(
  context: Mocha.Context,
  condition: unknown,
  reason: string,
): asserts condition {
  if (!condition) skip(context, reason);
}

/** For tests of tensors that are stored as float16. */
export function skipWithoutFloat16(context: Mocha.Context, device: Device): void {
  skipUnless(context, device.hasFloat16, "needs an adapter with shader-f16");
}

/** For tests of shaders that share values within a subgroup: those of GPUs are too large for them. */
export function skipWithoutSubgroups(context: Mocha.Context, device: Device): void {
  const reason = "needs an adapter with subgroups of one fixed size, of 16 lanes at most";
  skipUnless(context, subgroupUnsupported(device) === undefined, reason);
}

/** Skips since no adapter could be opened, as `error` says; with TUNINGFORK_REQUIRE_GPU=1 throws it instead. */
export function skipWithoutAdapter(context: Mocha.Context, error: unknown): never {
  if (process.env["TUNINGFORK_REQUIRE_GPU"] === "1") throw error;
  skip(context, messageOf(error));
}
