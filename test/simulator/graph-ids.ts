/**
 * Owns the ids of a Graph mailbox. The default id of a mail changes with each move, the immutable one does not.
 * Ids are case-sensitive base64 and end in `=`. Refuses to know whether a mail exists.
 */
import { mix, scramble, unscramble } from './random.ts'

const TAILS = { mutable: 'AAMkAGI', immutable: 'AAkALgA', folder: 'AQMkADA' } as const

function encode(kind: keyof typeof TAILS, key: number, index: number, moves: number): string {
  const bytes = Buffer.alloc(14)
  bytes.writeUInt32BE(key, 0)
  bytes.writeUInt32BE(scramble(key, index), 4)
  bytes.writeUInt16BE(moves, 8)
  bytes.writeUInt32BE(mix(key, index, moves), 10)
  return `${TAILS[kind]}${bytes.toString('base64url')}=`
}

export const graphIds = {
  mutable: (key: number, index: number, moves: number) => encode('mutable', key, index, moves),
  immutable: (key: number, index: number) => encode('immutable', key, index, 0),
  folder: (key: number, index: number) => encode('folder', key, index, 0),
  /** null = not an id of this mailbox. `moves` is null for immutable ids. */
  parse: (key: number, id: string): { kind: keyof typeof TAILS; index: number; moves: number | null } | null => {
    const kind = (['mutable', 'immutable', 'folder'] as const).find((one) => id.startsWith(TAILS[one]))
    const bytes = Buffer.from(id.slice(7), 'base64url')
    if (!kind || bytes.length !== 14 || bytes.readUInt32BE(0) !== key) return null
    const index = unscramble(key, bytes.readUInt32BE(4))
    const moves = bytes.readUInt16BE(8)
    return encode(kind, key, index, moves) === id ? { kind, index, moves: kind === 'mutable' ? moves : null } : null
  },
}
