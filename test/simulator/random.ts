/** Owns all chance of the simulator: pure integer hashes, so that message i needs no memory. Refuses Math.random. */

/** Hash of three integers to 32 bits. */
export function mix(a: number, b: number, c = 0): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul((b + 0x7f4a7c15) | 0, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ Math.imul((c + 0x165667b1) | 0, 0x27d4eb2f)
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d)
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b)
  return (h ^ (h >>> 16)) >>> 0
}

/** 0 <= x < 1 */
export function unit(a: number, b: number, c = 0): number {
  return mix(a, b, c) / 0x1_0000_0000
}

export function hashText(text: string, seed = 0): number {
  let h = seed ^ 0x811c9dc5
  for (let at = 0; at < text.length; at++) h = Math.imul(h ^ text.charCodeAt(at), 0x01000193)
  return mix(h, text.length, seed)
}

export function pick<T>(list: readonly [T, ...T[]], hash: number): T {
  return list[hash % list.length] ?? list[0]
}

/** A reversible shuffle of 32-bit integers (four Feistel rounds): ids look random and still lead back to i. */
export function scramble(key: number, value: number): number {
  let left = value >>> 16
  let right = value & 0xffff
  for (let round = 0; round < 4; round++) [left, right] = [right, left ^ (mix(key, right, round) & 0xffff)]
  return ((left << 16) | right) >>> 0
}

export function unscramble(key: number, value: number): number {
  let left = value >>> 16
  let right = value & 0xffff
  for (let round = 3; round >= 0; round--) [left, right] = [right ^ (mix(key, left, round) & 0xffff), left]
  return ((left << 16) | right) >>> 0
}
