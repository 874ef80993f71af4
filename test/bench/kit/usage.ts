/** Processor time and memory of other processes, as Linux counts them. Elsewhere it refuses. */
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** The unit of /proc on Linux, whatever the kernel was built with. */
const TICK_MS = 10
const LOOK_MS = 200
/** Of one core, by all of them together. */
const QUIET_PART = 0.1
const QUIET_DEADLINE_MS = 60_000

/** @throws Error where there is no /proc */
export function refuseOtherSystems(platform: NodeJS.Platform = process.platform): void {
  if (platform !== 'linux') throw new Error('the benchmark reads the CPU of processes from /proc: it needs Linux')
}

/** User and system time of all threads of a process so far, ms. @throws Error when it is gone */
export function cpuMs(pid: number): number {
  return cpuMsOf(readFileSync(`/proc/${pid}/stat`, 'latin1'))
}

/** @param stat a line of /proc/PID/stat: the name in it may hold spaces and brackets. */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // Fields 14 and 15 of proc(5), counted from 1; two of them stand before the bracket.
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

/** The most memory that the process has held since it began or since `forgetPeak`, bytes. */
export function peakBytes(pid: number): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
  return Number(kilobytes) * 1024
}

/** From here on the peak is counted anew. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

export type Usage<Name extends string> = { wallMs: number; cpuMs: Record<Name, number> }

/** Starts counting; what it answers may be called once or often, and tells what was used until then. */
export function usageOf<Name extends string>(pids: Record<Name, number>): () => Usage<Name> {
  const names = Object.keys(pids) as Name[]
  const each = (value: (name: Name) => number) =>
    Object.fromEntries(names.map((name) => [name, value(name)])) as Record<Name, number>
  const before = each((name) => cpuMs(pids[name]))
  const from = performance.now()
  return () => ({ wallMs: performance.now() - from, cpuMs: each((name) => cpuMs(pids[name]) - before[name]) })
}

/**
 * Waits until the processes have had next to nothing to do for so long, so that what one run leaves behind is counted in it
 * and not in the next. @returns false when they still had something to do after a minute
 */
export async function quiet(pids: readonly number[], signal: AbortSignal, forMs = LOOK_MS): Promise<boolean> {
  const total = (): number => pids.reduce((sum, pid) => sum + cpuMs(pid), 0)
  const from = performance.now()
  let [before, busyAt, lookedAt] = [total(), from, from]
  while (lookedAt < from + QUIET_DEADLINE_MS) {
    await sleep(LOOK_MS, undefined, { signal })
    const [now, at] = [total(), performance.now()]
    if (now - before > (at - lookedAt) * QUIET_PART) busyAt = at
    if (at - busyAt >= forMs) return true
    before = now
    lookedAt = at
  }
  return false
}
