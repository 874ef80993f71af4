/**
 * Gathers whatever leaves the programs: output of processes, messages of NATS, answers over HTTP, files. At the end it says
 * where a canary stands. It knows the one place where each secret has to travel, and no other.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Msg, NatsConnection } from '#shared/nats.ts'
import { MACHINE } from '../support/instance.ts'
import { until } from '../support/until.ts'
import { Canaries } from './canaries.ts'

export type SecretKind = 'token' | 'jwt' | 'key' | 'password' | 'client secret'
type Seen = { place: string; bytes: Uint8Array; allowed: SecretKind | null }

/** A request of the control plane carries the user's JWT in a header, and what a client has put into its body: the tokens. */
const REQUEST = /^mail\.(?:as\.[^.]+\.)?(?:connect|status|disconnect)$/

export class Sweep {
  readonly #canaries = new Canaries()
  readonly #seen: Seen[] = []
  readonly #folders: { place: string; dir: string; leaveOut: readonly string[] }[] = []
  bytes = 0

  hide(kind: SecretKind, secret: string): string {
    this.#canaries.add(kind, secret)
    return secret
  }

  tell(place: string, bytes: Uint8Array | string, allowed: SecretKind | null = null): void {
    // Of its own: a client may use the buffer again.
    const copy = Buffer.from(bytes as string)
    this.bytes += copy.length
    this.#seen.push({ place, bytes: copy, allowed })
  }

  /** Every message that this user of NATS may see, from now on. */
  async tap(nc: NatsConnection): Promise<void> {
    nc.subscribe('>', {
      callback: (error, message) => {
        if (error === null) this.#message(message)
      },
    })
    await nc.flush()
  }
  #message({ subject, headers, data }: Msg): void {
    const isRequest = REQUEST.test(subject)
    this.tell(`NATS subject of ${subject}`, subject)
    if (headers !== undefined) this.tell(`NATS headers of ${subject}`, headers.toString(), isRequest ? 'jwt' : null)
    this.tell(`NATS data of ${subject}`, data, isRequest ? 'token' : null)
  }

  /** Runs a program of ours; all that it writes is told. */
  spawn(name: string, main: string, env: NodeJS.ProcessEnv, args: readonly string[] = [], input = ''): Program {
    const child = spawn(process.execPath, [main, ...args], { env: { ...MACHINE, ...env } })
    child.stdin.on('error', () => undefined).end(input)
    return new Program(name, child, this)
  }

  /** One request over HTTP; its answer is told. */
  async fetch(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(20_000) })
    const text = await response.text()
    this.tell(`HTTP ${new URL(url).pathname}`, `${JSON.stringify([...response.headers])}\n${text}`)
    return { status: response.status, text }
  }

  /** All files below, their names too, as they stand now and again at the end. */
  folder(place: string, dir: string, leaveOut: readonly string[] = []): void {
    this.#folders.push({ place, dir, leaveOut })
  }
  /** The folders as they stand now: a process that was killed leaves other files than one that ended. */
  look(): void {
    for (const { place, dir, leaveOut } of this.#folders)
      for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name)
        this.tell(`name of a file in ${place}`, path)
        if (entry.isFile() && !leaveOut.includes(entry.name))
          this.tell(`file ${entry.name} in ${place}`, readFileSync(path))
      }
  }

  /** How much was seen at such places. */
  bytesOf(place: RegExp): number {
    return this.#seen.filter((seen) => place.test(seen.place)).reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  /** `place: kind, spelling` of each canary that was found, each once. */
  findings(): string[] {
    const found = this.#seen.flatMap(({ place, bytes, allowed }) =>
      this.#canaries.in(bytes, (name) => name === allowed).map((what) => `${place}: ${what}`),
    )
    return [...new Set(found)]
  }
}

/** A process whose whole output is told to a sweep. */
export class Program {
  readonly child: ChildProcess
  readonly exited: Promise<number | null>
  #written = ''

  constructor(name: string, child: ChildProcess, sweep: Sweep) {
    this.child = child
    const outputs = (
      [
        ['stdout', child.stdout],
        ['stderr', child.stderr],
      ] as const
    ).map(async ([which, stream]) => {
      const chunks: Buffer[] = []
      stream?.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        this.#written += chunk.toString()
      })
      if (stream !== null) await once(stream, 'close')
      sweep.tell(`${which} of ${name}`, Buffer.concat(chunks))
    })
    this.exited = Promise.all([once(child, 'exit'), ...outputs]).then(([[code]]) => code)
  }

  /** What the pattern matches first in all that was written. */
  async wrote(pattern: RegExp): Promise<RegExpExecArray> {
    const found = (): RegExpExecArray | null => pattern.exec(this.#written)
    return await until(`${pattern} is written`, () => found() ?? (this.#ended() ? this.#fail() : null), {
      timeoutMs: 40_000,
    })
  }
  #ended = (): boolean => this.child.exitCode !== null
  #fail(): never {
    throw new Error(`ended with ${this.child.exitCode}: ${this.#written.slice(-1_000)}`)
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal)
    return await this.exited
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.end('SIGKILL')
  }
}
