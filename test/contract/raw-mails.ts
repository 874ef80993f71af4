/**
 * Mails as they stand on the wire, for two Gmails that are compared: every way to write a name, a subject and a list of
 * addresses that an event must get right. Each header stands once, and each mail has a Message-ID, a Date and a text.
 */
export type RawMail = { lines: readonly string[]; text?: string; labels: readonly string[] }

const INBOX = ['INBOX', 'UNREAD']
const b64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')
const word = (text: string | Buffer): string => `=?UTF-8?B?${b64(text)}?=`
/** An encoded word that ends inside a character: ü is two bytes. */
const [head, tail] = [Buffer.from('Grü').subarray(0, 3), Buffer.from('Grüße').subarray(3)]

const mail = (subject: string, ...more: string[]): RawMail => ({
  lines: ['From: Ada Lovelace <ada@example.com>', 'To: me@example.com', `Subject: ${subject}`, ...more],
  labels: INBOX,
})
const from = (sender: string): RawMail => ({
  lines: [`From: ${sender}`, 'To: me@example.com', 'Subject: Hello'],
  labels: ['INBOX'],
})
const to = (...recipients: string[]): RawMail => ({
  lines: ['From: ada@example.com', ...recipients, 'Subject: Minutes'],
  labels: ['INBOX', 'STARRED'],
})

export const RAW_MAILS: readonly RawMail[] = [
  mail('Plain'),
  mail(word('Grüße aus Köln')),
  mail('=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?='),
  mail(`${word('会議の')}\r\n ${word('議事録')}`),
  mail(`${word(head)} ${word(tail)}`),
  mail('=?ISO-8859-1?Q?Caf=E9?= and =?UTF-8*en?Q?more?='),
  mail('Прямой UTF-8 🎉'),
  mail('=?UTF-8?B?broken'),
  mail('=?no-such-charset?Q?x?= stays'),
  mail('A subject that is\r\n folded over\r\n\tthree lines'),
  mail('Re: Plain', 'In-Reply-To: <1@example.com>', 'References: <0@example.com>\r\n <1@example.com>'),
  mail('With an answer address', 'Reply-To: "List, the" <list@example.com>'),
  { ...mail('No name, no quotes & <b>no html</b>'), text: 'Tom & Jerry say 5 < 6, it\'s "so"' },
  { ...mail('Long text'), text: 'Two\r\nlines  and   blanks' },
  { ...mail('日本語'), text: '日本語のプレビュー 😀' },
  { lines: ['From: ada@example.com', 'To: me@example.com'], labels: INBOX },
  from('<bare@example.com>'),
  from('bare@example.com'),
  from('comment@example.com (A Comment)'),
  from('"Smith, John (Sales)" <john@example.com>'),
  from(`${word('Jürgen Müller')} <j@example.com>`),
  from('"A \\"Q\\" Tester" <q@Example.COM>'),
  from('Doe, Jane <jane@example.com>'),
  from('"odd local"@example.com'),
  from('not an address'),
  to('To: undisclosed-recipients:;'),
  to('To: Team: a@example.com, "B, b" <b@example.com>;, c@example.com'),
  to('To: a@example.com,\r\n\tB <b@example.com>', 'Cc: c@example.com', 'Bcc: secret@example.com'),
  { ...mail('Sent by me'), labels: ['SENT'] },
  { ...mail('Archived'), labels: ['IMPORTANT'] },
  { ...mail('Junk'), labels: ['SPAM'] },
  { ...mail('Unfinished'), labels: ['DRAFT'] },
  { ...mail('Thrown away'), labels: ['TRASH'] },
]

/** A mail as `messages.insert` takes it. `at` makes its Message-ID and its Date. */
export function insertBody(
  { lines, text = 'Hello', labels }: RawMail,
  at: number,
): { raw: string; labelIds: string[] } {
  const date = new Date(Date.UTC(2024, 0, 1, 0, at)).toUTCString()
  const head = [...lines, `Date: ${date}`, `Message-ID: <${at}@example.com>`].join('\r\n')
  return { raw: Buffer.from(`${head}\r\n\r\n${text}`).toString('base64url'), labelIds: [...labels] }
}
