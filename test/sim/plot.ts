/** What happens in a run: a list that a seed makes, and that can be cut shorter to find out what a failure needs. */
import { Chance } from './chance.ts'
import type { LinkState } from './link.ts'

export type Deed =
  | { do: 'deliver'; user: string; mails: number }
  /** Dies at the effect that many effects from now. */
  | { do: 'crash'; name: string; effects: number; wipe: boolean; backMs: number }
  | { do: 'term'; name: string; backMs: number }
  | { do: 'freeze'; name: string; ms: number }
  | { do: 'link'; name: string; state: Exclude<LinkState, 'open'>; ms: number }
  | { do: 'loss'; name: string; part: number; ms: number }
  | { do: 'expire'; user: string }
  | { do: 'provider'; user: string; part: number; ms: number }
  | { do: 'join'; name: string }
export type Act = { atMs: number } & Deed
export type Plot = { processes: string[]; users: { user: string; mails: number }[]; acts: Act[] }

/** Everything happens within this time; then all is healed. */
export const TROUBLE_MS = 15_000
const SILENCE_MS = 6_000

export function plotOf(seed: number): Plot {
  const chance = new Chance(seed ^ 0x5eed)
  const processes = ['a', 'b', 'c'].slice(0, chance.whole(1, 3))
  const users = ['ada', 'bob'].slice(0, chance.whole(1, 2)).map((user) => ({ user, mails: chance.whole(0, 10) }))
  const names = users.map(({ user }) => user)
  const acts = Array.from({ length: chance.whole(3, 9) }, () => ({
    atMs: Math.round(chance.unit() * TROUBLE_MS),
    ...deed(chance, processes, names),
  }))
  return { processes, users, acts: acts.toSorted((a, b) => a.atMs - b.atMs) }
}

function deed(chance: Chance, processes: readonly string[], users: readonly string[]): Deed {
  const [name, user] = [chance.pick(processes), chance.pick(users)]
  const ms = chance.whole(200, 2 * SILENCE_MS)
  const back = (): number => (chance.is(0.7) ? chance.whole(10, 2_000) : chance.whole(2_000, 2 * SILENCE_MS))
  const roll = chance.unit()
  if (roll < 0.25) return { do: 'deliver', user, mails: chance.whole(1, 5) }
  if (roll < 0.5) return { do: 'crash', name, effects: chance.whole(1, 120), wipe: chance.is(0.35), backMs: back() }
  if (roll < 0.58) return { do: 'term', name, backMs: back() }
  if (roll < 0.68) return { do: 'freeze', name, ms }
  if (roll < 0.82) return { do: 'link', name, state: chance.pick(['cut', 'deaf', 'holding'] as const), ms }
  if (roll < 0.9) return { do: 'loss', name, part: chance.unit() / 2, ms }
  if (roll < 0.94) return { do: 'expire', user }
  if (roll < 0.97) return { do: 'provider', user, part: chance.unit(), ms }
  return { do: 'join', name: 'd' }
}
