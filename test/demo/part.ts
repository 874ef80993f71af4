/**
 * One process of the demo: started, ready by a line that it prints, its last lines kept, ended kindly or not.
 * It does not know what the process does. No process outlives this one.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const START_DEADLINE_MS = 20_000
const STOP_DEADLINE_MS = 5_000
const LINES_KEPT = 200
export const LINES_SHOWN = 12

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

export type PartOptions = { name: string; script: string; args?: readonly string[]; env: NodeJS.ProcessEnv }
/** A part and what it said when it was ready. Disposed kindly, or at once when the whole demo is to stop. */
export type Running<T> = AsyncDisposable & { part: Part; value: T }

/** Starts `node script` and waits until `ready` finds its value in a line. @throws PartError when that takes too long. */
export async function startPart<T>(
  { name, script, args = [], env }: PartOptions,
  ready: (line: string) => T | undefined,
  stop: AbortSignal,
): Promise<Running<T>> {
  stop.throwIfAborted()
  const { PATH, HOME, TMPDIR, NODE_COMPILE_CACHE } = process.env
  const child = spawn(process.execPath, [script, ...args], {
    env: { PATH, HOME, TMPDIR, NODE_COMPILE_CACHE, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Ctrl-C reaches the whole group of a terminal; the demo itself ends its parts, one after the other.
    detached: true,
  })
  const found = Promise.withResolvers<T>()
  const part = new Part(name, child, (line) => {
    const value = ready(line)
    if (value !== undefined) found.resolve(value)
  })
  void part.ended.then((how) => found.reject(new Error(`${name} ended with ${how} before it was ready`)))
  const deadline = setTimeout(
    () => found.reject(new Error(`${name} was not ready within ${START_DEADLINE_MS} ms`)),
    START_DEADLINE_MS,
  )
  const onStop = (): void => found.reject(stop.reason)
  stop.addEventListener('abort', onStop)
  try {
    const value = await found.promise
    // Ctrl-C may have ended nats-server already; what is stored is deleted anyhow, so nobody waits for a farewell.
    return { part, value, [Symbol.asyncDispose]: () => part.end(stop.aborted ? 'SIGKILL' : 'SIGTERM') }
  } catch (cause) {
    await part.end('SIGKILL')
    throw new PartError(part, cause)
  } finally {
    clearTimeout(deadline)
    stop.removeEventListener('abort', onStop)
  }
}

export type Blamed = { name: string; tail(): string }
/** What went wrong, and the part whose last lines tell why. */
export class PartError extends Error {
  override readonly name = 'PartError'
  readonly part: Blamed
  constructor(part: Blamed, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.part = part
  }
}

export class Part {
  readonly name: string
  /** Resolves with the exit code or the signal. */
  readonly ended: Promise<number | string>
  /** True once the demo itself ends it. */
  ending = false
  hasEnded = false
  readonly #child: ChildProcess
  readonly #lines: string[] = []

  constructor(name: string, child: ChildProcess, onLine: (line: string) => void) {
    this.name = name
    this.#child = child
    alive.add(child)
    const failed = once(child, 'error').then(([error]) => String(error))
    this.ended = Promise.race([once(child, 'exit').then(([code, signal]) => code ?? signal), failed]).finally(() => {
      this.hasEnded = true
      alive.delete(child)
    })
    for (const stream of [child.stdout, child.stderr])
      if (stream !== null)
        createInterface({ input: stream }).on('line', (line) => {
          this.#lines.push(line)
          if (this.#lines.length > LINES_KEPT) this.#lines.shift()
          onLine(line)
        })
  }
  get pid(): number {
    return this.#child.pid ?? 0
  }
  /** Its last lines. */
  tail(): string {
    return this.#lines.slice(-LINES_SHOWN).join('\n')
  }
  /** Sends the signal and waits for the end; SIGKILL when it takes too long. */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.ending = true
    if (this.hasEnded) return
    this.#child.kill(signal)
    const patience = new AbortController()
    const late = sleep(STOP_DEADLINE_MS, 'late', { signal: patience.signal }).catch(() => 'in time')
    if ((await Promise.race([this.ended, late])) === 'late') this.#child.kill('SIGKILL')
    patience.abort()
    await this.ended
  }
}
