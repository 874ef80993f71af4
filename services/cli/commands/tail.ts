/** mailctl tail: events as they come, of one user or of all. It reads the stream message by message and leaves no trace. */
import { setTimeout as sleep } from 'node:timers/promises'
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { type Command, Option } from 'commander'
import * as v from 'valibot'
import { EmailReceived } from '#shared/event.ts'
import { isNatsFault, PermissionViolationError } from '#shared/nats.ts'
import { decodeJson } from '#shared/nats-answer.ts'
import { apiPrefix, EVENT_STREAM, EVENT_SUBJECT_ALL, eventSubject } from '#shared/subjects.ts'
import { type Cli, CliFailure, type Start, wholeNumber } from '../cli.ts'
import { type Output, plain } from '../output.ts'

/** How long an event may stand on the stream before it is looked for. */
const LOOK_EVERY_MS = 250

type Options = { from: 'new' | 'all'; count?: number }

export function addTail(program: Command, start: Start): void {
  program
    .command('tail [user]')
    .description('show events as they arrive, of one user or of all (NATS_USER=consumer may)')
    .addOption(
      new Option('--from <where>', 'only new events, or all that the stream holds')
        .choices(['new', 'all'])
        .default('new'),
    )
    .option('-n, --count <number>', 'end after so many events', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .action(start([], (cli: Cli, [user], options: Options) => tail(cli, user, options)))
}

async function tail(cli: Cli, user: string | undefined, options: Options): Promise<void> {
  const nc = await cli.nats()
  const jsm = await jetstreamManager(nc, { apiPrefix: apiPrefix(cli.env.NATS_USER), checkAPI: false })
  const end = await endOf(jsm)
  if (cli.out.terminal)
    cli.out.note(`waiting for events of ${user === undefined ? 'all users' : plain(user)}; Ctrl-C ends`)
  const subject = user === undefined ? EVENT_SUBJECT_ALL : eventSubject(user)
  let seq = options.from === 'all' ? 1 : end + 1
  for (let seen = 0; seen < (options.count ?? Number.POSITIVE_INFINITY); ) {
    const message = await next(jsm, seq, subject)
    if (message === null) {
      if (nc.isClosed()) throw new CliFailure('the connection to NATS was given up')
      await sleep(LOOK_EVERY_MS, undefined, { signal: cli.signal })
      continue
    }
    show(cli.out, message.seq, decodeJson(message.data))
    seq = message.seq + 1
    seen += 1
  }
}

/** The first message of the subject at or behind a sequence; null when there is none, or NATS does not say. */
async function next(jsm: JetStreamManager, seq: number, subject: string): ReturnType<typeof jsm.direct.getMessage> {
  try {
    return await jsm.direct.getMessage(EVENT_STREAM, { seq, next_by_subj: subject })
  } catch (error) {
    const isForbidden = error instanceof Error && error.cause instanceof PermissionViolationError
    if (isNatsFault(error) && !isForbidden) return null
    throw error
  }
}

/** The last sequence of the stream. */
async function endOf(jsm: JetStreamManager): Promise<number> {
  try {
    return (await jsm.streams.info(EVENT_STREAM)).state.last_seq
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== JetStreamApiCodes.StreamNotFound) throw error
    throw new CliFailure(`stream ${EVENT_STREAM} is missing: an instance makes it at its start ("npm start")`)
  }
}

function show(out: Output, seq: number, event: unknown): void {
  const parsed = v.safeParse(EmailReceived, event)
  if (!parsed.success) {
    out.data({ seq, malformed: true })
    out.line(`#${seq} is not an event of this release`)
    return
  }
  const { output } = parsed
  out.data(output)
  const at =
    output.msg_date === null ? '-'.padEnd(20) : new Date(output.msg_date * 1000).toISOString().slice(0, 19).concat('Z')
  out.line(
    `${out.paint('dim', `#${seq}`)} ${at} ${plain(output.user_id)} ${output.provider.toLowerCase()}  ${plain(output.sender)}  ${plain(output.subject)}`,
  )
}
