/** mailctl why: where a message came from, or what kept it out. It only asks. */
import { type Command, Option } from 'commander'
import { PROVIDERS } from '#shared/contract.ts'
import type { Page, WhyAnswer, WhyReply, WhyRequest } from '#shared/inspect.ts'
import { type Cli, type Start, withUser } from '../cli.ts'
import { plain } from '../output.ts'

type Options = { user: string; message: string; provider?: NonNullable<WhyRequest['provider']>; inbox?: string }

export function addWhy(program: Command, start: Start): void {
  withUser(program.command('why'))
    .description('show where a message came from, down to its sequence, or what kept it out')
    .requiredOption('-m, --message <id>', "the provider's id of the message")
    .addOption(new Option('--provider <name>', 'only of this provider').choices([...PROVIDERS]))
    .option('--inbox <id>', 'only of this inbox')
    .action(
      start([], async (cli: Cli, _args, { user, message, provider, inbox }: Options) => {
        const reply = await cli.inspect('why', user, {
          message_id: message,
          ...(provider === undefined ? {} : { provider }),
          ...(inbox === undefined ? {} : { inbox_id: inbox }),
        })
        cli.out.data(reply)
        for (const line of linesOf(reply)) cli.out.line(line)
      }),
    )
}

const linesOf = (reply: WhyReply): string[] => [
  plain(`${reply.message_id} of ${reply.user_id}, says ${reply.instance}:`),
  ...(reply.answers.length === 0 ? ['  the user has no such account'] : reply.answers.flatMap(answerLines)),
]

const answerLines = (answer: WhyAnswer): string[] => {
  const [what, ...facts] = toldOf(answer)
  return [plain(`  ${answer.provider}/${answer.inbox_id}: ${what}`), ...facts.map((fact) => plain(`    ${fact}`))]
}

function toldOf(answer: WhyAnswer): string[] {
  switch (answer.is) {
    case 'stored':
      return storedLines(answer)
    case 'queued': {
      const { set_aside, attempts, reason, error, next_attempt_at, listed_by } = answer
      const last = reason === null ? '' : `, last ${reason}${error === null ? '' : ` (${error})`}`
      const next = next_attempt_at === null ? 'when its turn comes' : `at ${time(next_attempt_at)}`
      return [
        `${set_aside ? 'set aside in quarantine' : 'waits in the fetch queue'}: tried ${attempts}x${last}, again ${next}`,
        ...pageLines('listed', listed_by),
      ]
    }
    case 'filtered':
      return [`filtered: it is no event, because of ${answer.filter}`]
    case 'not_at_provider':
      return [`not at the provider: ${answer.reason}${answered(answer)}`]
    case 'unknown':
      return [
        `not stored, not queued: the provider has it${answer.readable ? '' : ', in a shape that cannot be read'}`,
        `walks that are not over: ${answer.open_lanes.join(', ') || 'none'}`,
      ]
    case 'unanswered':
      return [
        `not stored, not queued; the provider could not be asked: ${answer.code ?? 'not connected'}${answered(answer)}`,
      ]
    default:
      return answer satisfies never
  }
}

function storedLines(answer: Extract<WhyAnswer, { is: 'stored' }>): string[] {
  const { stored_at, page, listed_by, outbox, stream, event_id } = answer
  const sequence = stream.sequence === null ? '' : `, sequence ${stream.sequence}`
  return [
    stored_at === null ? 'published from another disk; its row is not here yet' : `stored at ${time(stored_at)}`,
    `event ${event_id}`,
    ...(listed_by === null ? [] : pageLines('listed', listed_by)),
    ...pageLines('stored', page),
    outbox === null
      ? 'outbox: no row'
      : `outbox: row ${outbox.id}, ${outbox.published_at === null ? `waits, tried ${outbox.retries}x` : `published at ${time(outbox.published_at)}`}`,
    `stream: ${stream.is}${sequence}`,
  ]
}

function pageLines(what: string, page: Page | null): string[] {
  if (page === null) return [`${what} by a page that is not known: it is older, or learned from the stream`]
  const { lane, cursor, next_cursor, epoch, committed_at } = page
  return [
    `${what} by page ${page.page} of ${lane}, in one transaction at ${time(committed_at)}, epoch ${epoch.era}.${epoch.rev}`,
    `  cursor ${cursor ?? '(start)'} → ${next_cursor ?? '(none)'}`,
  ]
}

const time = (seconds: number): string => new Date(seconds * 1000).toISOString()

const answered = ({ status, provider_code }: { status: number | null; provider_code: string | null }): string => {
  const parts = [status, provider_code].filter((part) => part !== null)
  return parts.length === 0 ? '' : ` (${parts.join(' ')})`
}
