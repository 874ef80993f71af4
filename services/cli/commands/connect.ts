/** mailctl connect: hands an OAuth credential to the service. Tokens come from stdin or files, never from argv. */
import type { Command } from 'commander'
import * as v from 'valibot'
import { PROVIDERS } from '#shared/contract.ts'
import {
  type CallerOptions,
  type Cli,
  CliFailure,
  readInput,
  type Start,
  UsageError,
  wholeNumber,
  withCaller,
} from '../cli.ts'

/** A year; the contract takes no more. */
const EXPIRES_IN_MAX_S = 31_536_000

/** As token endpoints answer it; what else they send is left out. */
const TokenAnswer = v.object({
  access_token: v.string(),
  refresh_token: v.string(),
  expires_in: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
})
export type Tokens = v.InferOutput<typeof TokenAnswer>
export type Provider = (typeof PROVIDERS)[number]

type Options = CallerOptions & {
  inbox?: string
  tokens?: string
  accessTokenFile?: string
  refreshTokenFile?: string
  expiresIn?: number
}

export function addConnect(program: Command, start: Start): void {
  withCaller(program.command('connect <provider>'))
    .description('connect a mailbox with tokens that you have; "login" fetches them')
    .option('--inbox <id>', 'which inbox of the user (default: primary)')
    .option('--tokens <file>', 'JSON {access_token, refresh_token, expires_in}; - for stdin (default)')
    .option('--access-token-file <file>', 'file that holds the access token')
    .option('--refresh-token-file <file>', 'file that holds the refresh token')
    .option(
      '--expires-in <seconds>',
      'how long the access token lives; default 0: it is refreshed at once',
      wholeNumber(0, EXPIRES_IN_MAX_S),
    )
    .action(
      start([], async (cli: Cli, [name], options: Options) => {
        const provider = providerOf(name)
        await connect(cli, provider, await tokensOf(options), options)
      }),
    )
}

export function providerOf(name: string | undefined): Provider {
  const provider = PROVIDERS.find((known) => known === name)
  if (provider === undefined) throw new UsageError(`provider must be one of ${PROVIDERS.join(', ')}`)
  return provider
}

export async function connect(
  cli: Cli,
  provider: Provider,
  tokens: Tokens,
  options: CallerOptions & { inbox?: string },
): Promise<void> {
  const body = { provider, ...tokens, ...(options.inbox === undefined ? {} : { inbox_id: options.inbox }) }
  const reply = await cli.request('connect', options, body)
  cli.out.data(reply)
  cli.out.line(`${cli.out.paint('green', '✔')} ${reply.message}: ${reply.provider} of user ${reply.user_id}`)
}

async function tokensOf(options: Options): Promise<Tokens> {
  const { accessTokenFile, refreshTokenFile } = options
  if ((accessTokenFile === undefined) !== (refreshTokenFile === undefined))
    throw new UsageError('--access-token-file and --refresh-token-file belong together')
  if (accessTokenFile !== undefined && refreshTokenFile !== undefined)
    return {
      access_token: (await readInput(accessTokenFile)).trim(),
      refresh_token: (await readInput(refreshTokenFile)).trim(),
      expires_in: options.expiresIn ?? 0,
    }
  const parsed = v.safeParse(TokenAnswer, parseJson(await readInput(options.tokens ?? '-')))
  // The issues would quote what they found, and so a token.
  if (!parsed.success) throw new CliFailure('the tokens must be JSON {access_token, refresh_token, expires_in}')
  return options.expiresIn === undefined ? parsed.output : { ...parsed.output, expires_in: options.expiresIn }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
