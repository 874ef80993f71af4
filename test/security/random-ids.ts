/** User ids as chance makes them, and others that look nearly like them. The same seed gives the same ids. */
import { mix } from '../simulator/random.ts'

export const NASTY = [
  '../../etc',
  'a.b*>\0 ',
  '.',
  '..',
  'CON',
  'a/b\\c',
  '\uFEFFbom',
  '=41',
  '=',
  'ÀÀ',
  '😀',
  '\u202Eabc',
  '$SYS.>',
  '%2e',
  '~',
  'a\r\nb',
]
const PLAIN = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-'
const ODD = '.*>/\\ =%$@:|~\0\n\r\t\x7f'

const codePoint = (hash: number): string => {
  // Without surrogates: ids with a lone one are refused.
  const point = hash % 0x10f800
  return String.fromCodePoint(point < 0xd800 ? point : point + 0x800)
}

/** 1 to 14 characters of any kind: at most 168 characters when encoded. */
export function randomId(seed: number, i: number): string {
  const kind = mix(seed, i, 1) % 8
  if (kind === 7) return `${NASTY[mix(seed, i, 2) % NASTY.length]}${mix(seed, i, 3) % 1_000}`
  const length = 1 + (mix(seed, i, 4) % 14)
  let id = ''
  for (let at = 0; at < length; at++) {
    const hash = mix(seed, i, at + 10)
    const choice = kind < 3 ? kind : hash % 3
    if (choice === 0) id += PLAIN[hash % PLAIN.length]
    else if (choice === 1) id += ODD[hash % ODD.length]
    else id += codePoint(hash)
  }
  return id
}

/** Another id that a careless encoding would take for the first; the same one in a few cases. */
export function neighbour(id: string, hash: number): string {
  switch (hash % 9) {
    case 0:
      return id
    case 1:
      return id.toUpperCase()
    case 2:
      return id.normalize('NFD')
    case 3:
      return `${id}.`
    case 4:
      return id.replace(/[^A-Za-z0-9]/gu, '_')
    case 5:
      return encodeURIComponent(id).slice(0, 60)
    case 6:
      return [...Buffer.from(id)]
        .map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`)
        .join('')
        .slice(0, 60)
    case 7:
      return [...id].toReversed().join('')
    default:
      return `${id}\0`
  }
}
