/** Which blows fall, how often and on whom: the same for the same seed. Pure. */
import { type BlowName, type Dice, NEED_DISK } from './blows.ts'

const SHORT: Record<BlowName, number> = {
  kill: 40,
  disk: 20,
  stop: 20,
  term: 9,
  cut: 6,
  mute: 6,
  hold: 3,
  clock: 6,
  full: 3,
  readonly: 3,
  damage: 6,
}
const FULL: Record<BlowName, number> = {
  kill: 700,
  disk: 300,
  stop: 100,
  term: 90,
  cut: 45,
  mute: 45,
  hold: 15,
  clock: 45,
  full: 15,
  readonly: 15,
  damage: 60,
}

export type Scale = {
  machines: number
  /** At most so long a machine works between two blows; without, the blows that only wait leave time to work. */
  lifeMs: number
  users: number
  /** Of each machine's disk: room for all users, and for what was damaged and set aside. */
  diskMib: number
  /** Of each mailbox at the start. */
  mails: number
  blows: Record<BlowName, number>
  brokers: number
  rollBacks: number
}
export const SCALES: Record<'short' | 'full', Scale> = {
  short: { machines: 3, lifeMs: 0, users: 50, diskMib: 256, mails: 80, blows: SHORT, brokers: 10, rollBacks: 2 },
  full: {
    machines: 5,
    lifeMs: 8_000,
    users: 200,
    diskMib: 2_048,
    mails: 360,
    blows: FULL,
    brokers: 100,
    rollBacks: 15,
  },
}

/** For each of `lanes` machines the blows that it gets, one after another. */
export function deal(blows: Record<BlowName, number>, lanes: number, hasDisks: boolean, dice: Dice): BlowName[][] {
  const names = (Object.keys(blows) as BlowName[]).filter((name) => hasDisks || !NEED_DISK.has(name))
  const deck = shuffled(
    names.flatMap((name) => Array<BlowName>(blows[name]).fill(name)),
    dice,
  )
  return Array.from({ length: lanes }, (_, lane) => deck.filter((_blow, i) => i % lanes === lane))
}

export function shuffled<T>(cards: readonly T[], dice: Dice): T[] {
  const deck = [...cards]
  for (let i = deck.length - 1; i > 0; i--) {
    const j = dice(0, i)
    const [a, b] = [deck[i], deck[j]]
    if (a !== undefined && b !== undefined) [deck[i], deck[j]] = [b, a]
  }
  return deck
}
