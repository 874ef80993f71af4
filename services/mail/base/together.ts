/**
 * Waits for all, also when one fails: whoever tries again meets nothing that is still under way.
 * @throws what the first of them in this order throws
 */
export async function together<T extends readonly unknown[]>(
  ...all: { [K in keyof T]: Promise<T[K]> }
): Promise<{ -readonly [K in keyof T]: T[K] }> {
  await Promise.allSettled(all)
  return await Promise.all(all)
}
