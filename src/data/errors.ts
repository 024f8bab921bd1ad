import { systemReason } from "../system_errors.ts";

/** The message of whatever was thrown, for use inside a longer sentence: one line, without a trailing full stop. */
export function reasonOf(cause: unknown): string {
  const text = systemReason(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return (text.split("\n")[0] ?? text).replace(/\.$/, "");
}

/** "12 images without a label (a.jpg, b.jpg, c.jpg, ...)": a count with its first few names. */
export function countWithExamples(
  names: readonly string[],
  singular: string,
  plural = `${singular}s`,
): string {
  const shown = names.slice(0, 3).join(", ");
  const more = names.length > 3 ? ", ..." : "";
  return `${names.length} ${names.length === 1 ? singular : plural} (${shown}${more})`;
}
