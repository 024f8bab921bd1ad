/** What calls throw, for tests that expect it. */
import { expect } from "chai";
import { DeviceError } from "../../src/gpu/errors.ts";

/** What a call throws, or its promise is rejected with; a call that does neither fails the test. */
export async function errorOf(call: () => unknown): Promise<Error> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected an error, got none");
}

/** The call must throw a DeviceError of this kind, its message as the pattern says. */
export async function expectDeviceError(
  call: () => unknown,
  kind: DeviceError["kind"],
  message: string | RegExp,
): Promise<void> {
  const error = await errorOf(call);
  expect(error, error.stack).to.be.instanceOf(DeviceError);
  expect(error).to.have.property("kind", kind);
  expect(error.message).to.match(typeof message === "string" ? new RegExp(message) : message);
}

/** What a promise was rejected with: its message. */
export async function rejection(promise: Promise<unknown>): Promise<string> {
  return (await errorOf(() => promise)).message;
}
