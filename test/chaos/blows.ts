/** What can happen to a machine or to NATS. Each blow ends with everything running again; what must not happen it throws. */
import { execFileSync } from 'node:child_process'
import { appendFile, copyFile, open, rm, stat, statfs, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pass } from 'node:timers/promises'
import type { NatsServer } from '../support/nats-server.ts'
import { keepCopy } from '../support/roll-back.ts'
import type { Machine } from './machine.ts'

/** Whole numbers from `low` to `high`. */
export type Dice = (low: number, high: number) => number
type Blow = (machine: Machine, dice: Dice, silenceMs: number) => Promise<void>

const HOUR_MS = 3_600_000
const FILLER_BYTES = 64 * 1_024 * 1_024
/** Exit code of a start that only an operator can help. */
const EXIT_CONFIG = 78

async function kill(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  await machine.end('SIGKILL')
  await pass(dice(0, 1) * dice(0, silenceMs * 2))
  await machine.start()
}

async function disk(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  await machine.end('SIGKILL')
  await machine.wipe()
  await pass(dice(0, 1) * dice(0, silenceMs * 2))
  await machine.start()
}

async function stop(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  machine.pause()
  await pass(silenceMs + dice(200, silenceMs))
  machine.goOn()
  await pass(dice(200, 800))
}

async function term(machine: Machine): Promise<void> {
  const code = await machine.end('SIGTERM')
  if (code !== 0) throw new Error(`${machine.name} ended with ${code} after SIGTERM`)
  await machine.start()
}

async function cut(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  machine.link.cut()
  await pass(dice(100, silenceMs * 2))
  machine.link.heal()
  await pass(dice(200, 800))
}

async function mute(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  machine.link.mute(dice(0, 1) === 0 ? 'toServer' : 'toClient')
  await pass(dice(200, silenceMs * 2))
  machine.link.heal()
  await pass(dice(200, 800))
}

/** What it has sent arrives when others have long had its users. */
async function hold(machine: Machine, dice: Dice, silenceMs: number): Promise<void> {
  machine.link.hold('toServer')
  await pass(silenceMs + dice(500, silenceMs))
  machine.link.release()
  await pass(dice(200, 800))
}

async function clock(machine: Machine, dice: Dice): Promise<void> {
  await machine.setClock((dice(0, 1) === 0 ? -1 : 1) * dice(10_000, 2 * HOUR_MS))
  await pass(dice(1_000, 3_000))
  await machine.setClock(0)
  await pass(dice(200, 800))
}

async function full(machine: Machine, dice: Dice): Promise<void> {
  const filler = join(machine.disk, 'filler')
  const { bavail, bsize } = await statfs(machine.disk)
  const piece = Buffer.alloc(FILLER_BYTES)
  // As long as it takes anything; the last piece is cut where the disk ends.
  for (let left = bavail * bsize; left > 0; left -= piece.length)
    await appendFile(filler, piece.subarray(0, left)).catch(() => undefined)
  await pass(dice(1_000, 3_000))
  await rm(filler, { force: true })
  await pass(dice(200, 800))
}

/** A machine that comes up with a disk that takes nothing: the start is refused, and comes off when the disk is mended. */
async function readonly(machine: Machine): Promise<void> {
  await machine.end('SIGKILL')
  const remount = (how: 'ro' | 'rw'): Buffer => execFileSync('mount', ['-o', `remount,${how}`, machine.disk])
  remount('ro')
  try {
    await machine.start()
    throw new Error(`${machine.name} started on a disk that takes nothing`)
  } catch (error) {
    if (!String(error).includes(`the instance ended with ${EXIT_CONFIG}`)) throw error
  } finally {
    remount('rw')
  }
  await machine.start()
}

/** One user's database is overwritten, cut, emptied, or that of somebody else. */
async function damage(machine: Machine, dice: Dice): Promise<void> {
  await machine.end('SIGKILL')
  const files = await machine.databases()
  const [file, other] = [files[dice(0, files.length - 1)], files[dice(0, files.length - 1)]]
  if (file === undefined || other === undefined) return machine.start()
  for (const journal of ['-wal', '-shm']) await rm(file + journal, { force: true })
  const { size } = await stat(file)
  const how = dice(0, 3)
  if (how === 0) await truncate(file, 0)
  else if (how === 1) await truncate(file, Math.floor(size / 2))
  else if (how === 2 && other !== file) await copyFile(other, file)
  else {
    await using handle = await open(file, 'r+')
    await handle.write(Buffer.alloc(4_096, dice(0, 255)), 0, 4_096, dice(0, Math.floor(size / 4_096)) * 4_096)
  }
  await machine.start()
}

export const BLOWS = { kill, disk, stop, term, cut, mute, hold, clock, full, readonly, damage } satisfies Record<
  string,
  Blow
>
export type BlowName = keyof typeof BLOWS
/** Those that need a file system of their own. */
export const NEED_DISK: ReadonlySet<string> = new Set<BlowName>(['full', 'readonly'])

export async function killBroker(nats: NatsServer, dice: Dice): Promise<void> {
  await nats.stop('SIGKILL')
  await pass(dice(0, 1_500))
  await nats.start()
}

/** The disk of NATS is what it was a moment ago. */
export async function rollBack(nats: NatsServer, dice: Dice): Promise<void> {
  const putBack = await keepCopy(nats, 'chaos-copy')
  await pass(dice(500, 3_000))
  await putBack()
  await rm(join(nats.dir, 'chaos-copy'), { recursive: true, force: true })
}
