/** What happens in a run: a list that a seed makes, and that can be cut shorter to find out what a failure needs. */
import { Chance } from './chance.ts'
import type { LinkState } from './link.ts'

/** How much of what was written last each stream loses, ms. */
export type Losses = { events: number; leases: number; state: number; snapshots: number }
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
  /** The server of NATS goes down and comes back without what it had not brought to the disk. */
  | { do: 'fall'; lostMs: Losses; downMs: number }
  /** A second process on the folder of the first, which stands still meanwhile, goes on, and ends. */
  | { do: 'twin'; name: string; pausedMs: number; overlapMs: number }
export type Act = { atMs: number } & Deed
export type Plot = {
  processes: string[]
  users: { user: string; mails: number }[]
  acts: Act[]
  /** The server knows atomic batches; false when absent. */
  takesBatches?: boolean
}

/** Everything happens within this time; then all is healed. */
export const TROUBLE_MS = 15_000
const SILENCE_MS = 6_000
const LOST_MAX_MS = 6_000
/** Part of the servers that know atomic batches. */
const WITH_BATCHES = 0.8

export function plotOf(seed: number): Plot {
  const chance = new Chance(seed ^ 0x5eed)
  const processes = ['a', 'b', 'c'].slice(0, chance.whole(1, 3))
  const users = ['ada', 'bob'].slice(0, chance.whole(1, 2)).map((user) => ({ user, mails: chance.whole(0, 10) }))
  const names = users.map(({ user }) => user)
  const acts = Array.from({ length: chance.whole(3, 9) }, () => ({
    atMs: Math.round(chance.unit() * TROUBLE_MS),
    ...deed(chance, processes, names),
  }))
  const takesBatches = new Chance(seed ^ 0xba7c4).is(WITH_BATCHES)
  return { processes, users, acts: acts.toSorted((a, b) => a.atMs - b.atMs), takesBatches }
}

function deed(chance: Chance, processes: readonly string[], users: readonly string[]): Deed {
  const [name, user] = [chance.pick(processes), chance.pick(users)]
  const ms = chance.whole(200, 2 * SILENCE_MS)
  const back = (): number => (chance.is(0.7) ? chance.whole(10, 2_000) : chance.whole(2_000, 2 * SILENCE_MS))
  const roll = chance.unit()
  if (roll < 0.25) return { do: 'deliver', user, mails: chance.whole(1, 5) }
  if (roll < 0.46) return { do: 'crash', name, effects: chance.whole(1, 120), wipe: chance.is(0.35), backMs: back() }
  if (roll < 0.53) return { do: 'term', name, backMs: back() }
  if (roll < 0.62) return { do: 'freeze', name, ms }
  if (roll < 0.74) return { do: 'link', name, state: chance.pick(['cut', 'deaf', 'holding'] as const), ms }
  if (roll < 0.81) return { do: 'loss', name, part: chance.unit() / 2, ms }
  if (roll < 0.85) return { do: 'expire', user }
  if (roll < 0.88) return { do: 'provider', user, part: chance.unit(), ms }
  if (roll < 0.9) return { do: 'join', name: 'd' }
  if (roll < 0.95) return { do: 'fall', lostMs: losses(chance), downMs: chance.whole(50, 3_000) }
  return { do: 'twin', name, pausedMs: chance.whole(0, SILENCE_MS), overlapMs: chance.whole(0, SILENCE_MS) }
}

/** A restart loses nothing, a copy that is put in its place as much of each stream, a machine of each what it had not synced. */
function losses(chance: Chance): Losses {
  const lost = (): number => chance.whole(0, LOST_MAX_MS)
  const roll = chance.unit()
  if (roll < 0.2) return { events: 0, leases: 0, state: 0, snapshots: 0 }
  const ms = lost()
  if (roll < 0.6) return { events: ms, leases: ms, state: ms, snapshots: ms }
  return { events: lost(), leases: lost(), state: lost(), snapshots: lost() }
}
