/**
 * What every command of mailctl shares: environment, output, NATS connection, the user it acts for, its end.
 * Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
import { existsSync, readFileSync } from 'node:fs'
import { type Command, CommanderError, InvalidArgumentError } from 'commander'
import {
  type OperationCall,
  type Replies,
  requestErase,
  requestInspection,
  requestOperation,
} from '#shared/control-client.ts'
import { type Env, type EnvName, readEnv } from '#shared/env.ts'
import type { EraseReply } from '#shared/erase.ts'
import { AppError, errorBody } from '#shared/errors.ts'
import type { Inspections } from '#shared/inspect.ts'
import { ExitError } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection, PermissionViolationError } from '#shared/nats.ts'
import { natsLogin } from '#shared/nats-login.ts'
import { type InspectionName, inboxPrefix, type OperationName } from '#shared/subjects.ts'
import { uuidV7 } from '#shared/uuid.ts'
import { createOutput, type Output, plain } from './output.ts'

/** What goes wrong is told by the error; a log would mix with the result. */
const silent = createLog('mailctl', 'silent')
const CONNECT_WAIT_MS = 2_000
const INPUT_MAX_BYTES = 64 * 1024

export class UsageError extends Error {
  override readonly name = 'UsageError'
}
/** A failure whose text is the whole story; it never holds a secret. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure'
}

export type GlobalOptions = { json?: boolean }
export type CallerOptions = { user?: string; jwt?: string }

export class Cli implements AsyncDisposable {
  readonly out: Output
  readonly signal: AbortSignal
  readonly #needs: readonly EnvName[]
  #env: Env | undefined
  #nc: NatsConnection | undefined

  constructor(needs: readonly EnvName[], out: Output, signal: AbortSignal) {
    this.#needs = needs
    this.out = out
    this.signal = signal
  }

  /** The environment, read at its first use. @throws UsageError with one line per fault. */
  get env(): Env {
    this.#env ??= environment(this.#needs)
    return this.#env
  }

  /** The connection, made at its first use. @throws ExitError when NATS cannot be reached or refuses us. */
  async nats(): Promise<NatsConnection> {
    const { env } = this
    this.#nc ??= await connectNats(
      { ...natsLogin(env), name: 'mailctl', inboxPrefix: inboxPrefix(env.NATS_USER), waitMs: CONNECT_WAIT_MS },
      silent,
      this.signal,
    )
    return this.#nc
  }

  /** Asks the service for one operation, as the user that the options name. */
  async request<N extends OperationName>(operation: N, caller: CallerOptions, body: unknown): Promise<Replies[N]> {
    const call: OperationCall = { body, requestId: uuidV7(), signal: this.signal, ...(await whoOf(caller)) }
    return await requestOperation(await this.nats(), operation, call)
  }

  /** Asks the owner of a user, as an operator. */
  async inspect<N extends InspectionName>(
    name: N,
    user: string,
    body: Inspections[N]['request'],
  ): Promise<Inspections[N]['reply']> {
    const call = { body, requestId: uuidV7(), signal: this.signal, asUser: user }
    return await requestInspection(await this.nats(), name, call)
  }

  /** Has all there is of a user erased, or asks how far that is. */
  async erase(user: string): Promise<EraseReply> {
    const call = { body: {}, requestId: uuidV7(), signal: this.signal, asUser: user }
    return await requestErase(await this.nats(), call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#nc !== undefined) await drainNats(this.#nc, silent)
  }
}

async function whoOf({ user, jwt }: CallerOptions): Promise<{ asUser: string } | { jwt: string }> {
  if ((user === undefined) === (jwt === undefined)) throw new UsageError('give either --user or --jwt')
  if (user !== undefined) return { asUser: user }
  const given = jwt ?? ''
  if (given !== '-' && !isJwt(given) && !existsSync(given))
    // Not repeated: what stands there instead of a file name may be a session token.
    throw new CliFailure('--jwt is neither a file nor a JWT. A session token is none: fetch a JWT from /api/auth/token')
  const token = isJwt(given) ? given : (await readInput(given)).trim()
  // What is no header value must not reach the headers; whether it is a JWT is the service's to say.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new CliFailure('--jwt: that is no token')
  return { jwt: token }
}

const isJwt = (text: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text)

/** Text of a file, or of stdin when the name is `-`. @throws CliFailure, UsageError on a terminal without input */
export async function readInput(file: string): Promise<string> {
  try {
    if (file !== '-') return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new CliFailure(`cannot read ${file}`, { cause })
  }
  if (process.stdin.isTTY) throw new UsageError('nothing on stdin: name a file, or pipe into mailctl')
  let text = ''
  for await (const chunk of process.stdin) {
    text += String(chunk)
    if (text.length > INPUT_MAX_BYTES) throw new CliFailure('stdin is larger than 64 KiB')
  }
  return text
}

type Action<O> = (cli: Cli, args: (string | undefined)[], options: O) => Promise<number> | Promise<void>
/** Makes an action of commander from a command: the environment it needs, and what it does. */
export type Start = <O>(needs: readonly EnvName[], action: Action<O>) => (...args: unknown[]) => Promise<void>

/** Adds the options that say for whom a command acts. */
export const withCaller = (command: Command): Command =>
  command
    .option('-u, --user <id>', 'act for this user over mail.as.* (NATS permissions decide; NATS_USER=service)')
    .option('--jwt <file>', "act with this user's JWT: a file, - for stdin, or the token itself")

/** Adds the option that names the user of an inspection: never a JWT. */
export const withUser = (command: Command): Command =>
  command.requiredOption('-u, --user <id>', 'the user, over mail.as.* (NATS permissions decide; NATS_USER=service)')

export function seconds(text: string): number {
  const n = Number(text)
  if (!Number.isFinite(n) || n <= 0 || n > 86_400) throw new InvalidArgumentError('seconds, more than 0')
  return n
}

/** Makes a parser of an option that takes a whole number. */
export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const n = Number(text)
    if (!/^\d+$/.test(text) || n < least || n > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}`)
    return n
  }

/** Runs one command: builds its Cli, prints what went wrong, returns the exit code. */
export async function runCommand(
  options: GlobalOptions,
  needs: readonly EnvName[],
  signal: AbortSignal,
  command: (cli: Cli) => Promise<number>,
): Promise<number> {
  const out = createOutput(options.json === true)
  try {
    await using cli = new Cli(needs, out, signal)
    return await command(cli)
  } catch (error) {
    return report(error, out, signal)
  }
}

function environment(needs: readonly EnvName[]): Env {
  try {
    return readEnv('cli', needs)
  } catch (error) {
    throw error instanceof ExitError ? new UsageError(error.message) : error
  }
}

function report(error: unknown, out: Output, signal: AbortSignal): number {
  if (signal.aborted) return 0
  if (error instanceof AppError) {
    const { error: body } = errorBody(error, '')
    out.data({ error: body })
    if (out.json) return 1
    out.note(`${out.paint('red', '✖')} ${body.code}: ${body.message}\n  ${body.hint}`)
    if (Object.keys(body.details).length > 0) out.note(`  ${plain(JSON.stringify(body.details))}`)
    return 1
  }
  const [message, code] = failureOf(error)
  out.data({ error: { code: code === 2 ? 'USAGE' : 'FAILED', message } })
  if (!out.json) out.note(`${out.paint('red', '✖')} ${message}`)
  return code
}

function failureOf(thrown: unknown): [message: string, exitCode: number] {
  const refused = thrown instanceof Error && thrown.cause instanceof PermissionViolationError
  const error = refused ? thrown.cause : thrown
  if (error instanceof UsageError || error instanceof CommanderError) return [error.message, 2]
  if (error instanceof ExitError || error instanceof CliFailure) return [error.message, 1]
  if (error instanceof PermissionViolationError)
    return [
      `this NATS user may not ${error.operation} ${plain(error.subject)}: set NATS_USER and NATS_PASSWORD to a user that may`,
      1,
    ]
  return [error instanceof Error ? `${error.name}: ${plain(error.message)}` : 'failed', 1]
}
