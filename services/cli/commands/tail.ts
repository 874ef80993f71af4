/** mailctl tail: events as they come, of one user or of all. It reads the stream with a consumer that leaves no trace. */
import {
  type Consumer,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamClient,
  jetstream,
} from '@nats-io/jetstream'
import { type Command, Option } from 'commander'
import * as v from 'valibot'
import { EmailReceived } from '#shared/event.ts'
import { decodeJson } from '#shared/nats-answer.ts'
import { EVENT_STREAM, EVENT_SUBJECT_ALL, eventSubject, inboxPrefix } from '#shared/subjects.ts'
import { type Cli, CliFailure, type Start, wholeNumber } from '../cli.ts'
import { type Output, plain } from '../output.ts'

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
  const js = jetstream(nc, { watcherPrefix: inboxPrefix(cli.env.NATS_USER) })
  const consumer = await consumerOf(js, user, options)
  const messages = await consumer.consume()
  const onAbort = (): void => messages.stop()
  cli.signal.addEventListener('abort', onAbort, { once: true })
  if (cli.out.terminal)
    cli.out.note(`waiting for events of ${user === undefined ? 'all users' : plain(user)}; Ctrl-C ends`)
  let seen = 0
  for await (const message of messages) {
    show(cli.out, message.seq, decodeJson(message.data))
    if (++seen === options.count) break
  }
  cli.signal.removeEventListener('abort', onAbort)
  await messages.close()
}

async function consumerOf(js: JetStreamClient, user: string | undefined, { from }: Options): Promise<Consumer> {
  try {
    return await js.consumers.get(EVENT_STREAM, {
      // One text, not a list: with a list the client asks on a subject without name, which nats.conf lets nobody use.
      filter_subjects: user === undefined ? EVENT_SUBJECT_ALL : eventSubject(user),
      deliver_policy: from === 'all' ? DeliverPolicy.All : DeliverPolicy.New,
    })
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
