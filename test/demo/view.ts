/**
 * What a person sees. `plainView`: lines without any escape code, for logs and pipes. `liveView`: lines that stay, and
 * below them a picture that is drawn again in place. It formats what it is given and decides nothing.
 */
import { styleText } from 'node:util'
import type { AccountStatus } from '#shared/contract.ts'
import { plain } from '../../services/cli/output.ts'
import type { Seen } from './events.ts'
import { cut } from './width.ts'
import type { NewMail, Person } from './world.ts'

const PROGRESS_EVERY_MS = 3_000
const BAR_CELLS = 12
const NEW_MAILS_SHOWN = 6
const EVENTS_SHOWN = 3

export type Row = {
  person: Person
  account: AccountStatus | null
  /** The instance that owns the person, where there are several. */
  owner: string | null
  /** Why nobody works for the person at the moment. */
  down: string | null
}
export type Arrival = { mail: NewMail; atMs: number }
export type Picture = {
  head: string
  rows: readonly Row[]
  total: number
  latest: readonly Seen[]
  /** Newest first. */
  arrivals: readonly Arrival[]
  foot: string
}
export type View = {
  title(text: string): void
  /** Something that was done and stays on the screen. */
  done(text: string): void
  /** Something that is about to be broken on purpose. */
  hurt(text: string): void
  note(text: string): void
  /** The last word. */
  verdict(text: string, good: boolean): void
  arrived(arrival: Arrival): void
  picture(now: Picture): void
  close(): void
}

const count = (n: number): string => n.toLocaleString('en-US')
const latency = ({ mail, atMs }: Arrival): string =>
  `${(Math.max(0, atMs - mail.deliveredAtMs) / 1000).toFixed(1)} s after it arrived`
const clock = (ms: number): string => new Date(ms).toTimeString().slice(0, 8)
/** Subjects carry the user's id; its first characters are enough to tell users apart. */
const shortSubject = (subject: string): string => subject.replace(/^(user\.\w{4})\w+/, '$1…')
const quoted = (subject: string): string => `"${plain(subject)}"`

/** `52%  1,090/2,093  420/s  ETA 3 s`, as far as it is known; after the backfill what is yet to be published. */
function progress({ state, outbox, progress }: AccountStatus): string[] {
  const { done, total_estimate, percent, rate_per_s, eta_s } = progress
  const isLive = state === 'live'
  return [
    percent === null ? '' : `${Math.floor(percent)}%`,
    `${count(done)}${total_estimate === null ? '' : `/${count(total_estimate)}`}`,
    isLive || !rate_per_s ? '' : `${count(Math.round(rate_per_s))}/s`,
    isLive || eta_s === null
      ? isLive && outbox.pending > 0
        ? `outbox ${count(outbox.pending)}`
        : ''
      : `ETA ${eta_s} s`,
  ]
}

export function plainView(write: (text: string) => void): View {
  const startedMs = performance.now()
  let arrived = 0
  let nextProgressMs = 0
  const line = (text: string): void => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
    write(`${seconds.padStart(5)} s  ${text}\n`)
  }
  const row = ({ person, account, owner, down }: Row): string => {
    const about = `${person.name} ${person.provider}`
    if (down !== null) return `${about}: ${down}`
    return account === null
      ? `${about}: connecting`
      : `${about}${owner === null ? '' : ` by ${owner}`}: ${[account.state, ...progress(account)].filter((part) => part !== '').join(' ')}`
  }
  return {
    title: (text) => write(`${text}\n`),
    done: line,
    hurt: line,
    note: (text) => write(`${text}\n`),
    verdict: (text) => write(`${text}\n`),
    arrived(arrival) {
      if (++arrived > NEW_MAILS_SHOWN) return
      line(`new mail: ${quoted(arrival.mail.subject)} for ${arrival.mail.person.name}, event ${latency(arrival)}`)
    },
    picture(now) {
      const isBusy = now.rows.some(({ account }) => account?.state !== 'live')
      if (!isBusy || performance.now() < nextProgressMs) return
      nextProgressMs = performance.now() + PROGRESS_EVERY_MS
      line(now.rows.map(row).join('   '))
    },
    close: () => undefined,
  }
}

type Paint = Parameters<typeof styleText>[0]

export function liveView(out: NodeJS.WriteStream): View {
  // styleText honours NO_COLOR.
  const paint = (style: Paint, text: string): string => styleText(style, text, { stream: out })
  let drawn: string[] = []
  /** Goes back to the first line of the picture and clears from there. */
  const erase = (): string => `${drawn.length > 0 ? `\x1b[${drawn.length}F` : ''}\x1b[0J`
  // Each line takes one row, or the way back to the first one would be wrong. So it is cut; and wrapping is off, because a
  // terminal may draw a character wider than we think. It then overwrites its last column.
  const draw = (lines: readonly string[]): string =>
    `\x1b[?25l\x1b[?7l${lines.map((one) => `${cut(one, out.columns)}\n`).join('')}\x1b[?7h`
  const above = (text: string): void => void out.write(`${erase()}${text}\n${draw(drawn)}`)
  return {
    title: (text) => above(`\n ${paint('bold', text)}\n`),
    done: (text) => above(` ${paint('green', '✔')} ${text}`),
    hurt: (text) => above(` ${paint('red', '✖')} ${text}`),
    note: above,
    verdict: (text, good) => above(`\n${paint(good ? ['bold', 'green'] : ['bold', 'red'], text)}\n`),
    arrived: () => undefined,
    picture(now) {
      const lines = pictureLines(now, paint).slice(0, Math.max(1, (out.rows ?? 24) - 1))
      out.write(`${erase()}${draw(lines)}`)
      drawn = lines
    },
    close() {
      drawn = []
      out.write('\x1b[?25h\x1b[?7h')
    },
  }
}

function pictureLines(
  { head, rows, total, latest, arrivals, foot }: Picture,
  paint: (style: Paint, text: string) => string,
): string[] {
  const grey = (text: string): string => paint('dim', text)
  return [
    '',
    ` ${grey(head)}`,
    ...rows.map((row) => ` ${rowLine(row, paint)}`),
    '',
    ` ${grey('events on')} user.*.email.received  ${paint('bold', count(total))}`,
    ...latest.slice(0, EVENTS_SHOWN).map(({ seq, atMs, subject, event }) => {
      const what = `#${seq}`.padEnd(7)
      return ` ${grey(clock(atMs))}  ${grey(what)} ${shortSubject(subject)}  ${quoted(event.subject)}`
    }),
    ...(arrivals.length === 0 ? [] : ['', ` ${grey('new mail')}`]),
    ...arrivals.slice(0, NEW_MAILS_SHOWN).map((arrival) => {
      const { person, subject, from } = arrival.mail
      const when = `${grey(clock(arrival.atMs))}  ${paint('green', latency(arrival).padEnd(23))}`
      return ` ${when}  ${person.name.padEnd(6)} ${quoted(subject)} ${grey(`from ${from}`)}`
    }),
    ...(foot === '' ? [] : ['', ` ${foot}`]),
  ]
}

const STATE_COLOUR: Partial<Record<AccountStatus['state'], Paint>> = {
  live: 'green',
  backfilling: 'cyan',
  connecting: 'dim',
}

function rowLine({ person, account, owner, down }: Row, paint: (style: Paint, text: string) => string): string {
  const name = `${person.name.padEnd(6)} ${person.provider.padEnd(10)}`
  const state = down ?? account?.state ?? 'connecting'
  const colour = down !== null ? 'red' : (STATE_COLOUR[account?.state ?? 'connecting'] ?? 'yellow')
  const share = (account?.progress.percent ?? 0) / 100
  const full = Math.min(BAR_CELLS, Math.round(share * BAR_CELLS))
  const bar = paint(colour, '█'.repeat(full)) + paint('dim', '░'.repeat(BAR_CELLS - full))
  const [percent = '', done = '', rate = '', eta = ''] = account === null ? [] : progress(account)
  const by = owner === null ? '' : `${(down === null ? owner : '').padEnd(7)} `
  return `${name} ${by}${paint(colour, state.padEnd(12))} ${bar} ${percent.padStart(4)}  ${done.padEnd(11)}  ${rate} ${eta}`.trimEnd()
}
