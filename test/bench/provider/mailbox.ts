/**
 * Mailboxes that cost nothing to have: whose they are and how many mails lie in them stands in the access token, mail i is a
 * function of i, and its text is one of a few that the simulator has made. All mails are events. Nothing ever changes.
 */

/** A mailbox of `mails` mails; mail 0 is the oldest. */
export type Mailbox = { user: string; mails: number }

export const tokenOf = ({ user, mails }: Mailbox): string => `bench.${mails}.${user}`

/** @param authorization the header; null when it is no token of ours */
export function mailboxOf(authorization: string | undefined): Mailbox | null {
  const [, mails, user] = /^Bearer bench\.(\d+)\.(.+)$/.exec(authorization ?? '') ?? []
  return mails === undefined || user === undefined ? null : { user, mails: Number(mails) }
}

/** Texts that the mails of all mailboxes share. */
export const SHAPES = 256

const EPOCH_MS = Date.UTC(2024, 0, 1)
/** When mail i came, epoch ms: one a minute. */
export const timeMs = (index: number): number => EPOCH_MS + index * 60_000

/** What the benchmark's answers are: bytes, and what they are. */
export type Answer = { status: number; type: string; body: string }
export const json = (body: object | string, status = 200): Answer => ({
  status,
  type: 'application/json; charset=UTF-8',
  body: typeof body === 'string' ? body : JSON.stringify(body),
})

/** Cuts a text where `marks` stand in it; the pieces are then joined with what belongs to one mail. */
export function cutAt(text: string, mark: RegExp, pieces: number): string[] {
  const cut = text.split(mark)
  if (cut.length !== pieces) throw new Error(`${cut.length} pieces in place of ${pieces}: ${text}`)
  return cut
}
