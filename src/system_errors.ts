/** What a caught error says, and what the operating system refused, in words. */

/** The message of whatever was thrown, or its name where it has none. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.trim();
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space or choose another folder",
  EDQUOT: "the disk quota is used up; free some space or choose another folder",
  EFBIG: "the file would be larger than this system allows; choose another folder",
  EACCES: "permission denied; choose a file and folder that you may use",
  EPERM: "permission denied; choose a file and folder that you may use",
  EROFS: "the file system is read-only; choose another folder",
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of its path is no folder",
  EISDIR: "it is a folder",
};

/** The reason of a refusal by the operating system; undefined for any other error. */
export function systemReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("syscall" in error) || !("code" in error)) return undefined;
  return REASONS[String(error.code)] ?? error.message;
}
