/** Right answers of both APIs to every request that an adapter makes, and the lanes with the positions that lead to them. */

const DATE = '2026-01-02T03:04:05Z'
const person = { emailAddress: { name: 'Ada', address: 'ada@example.com' } }
const graphMessage = {
  id: 'm1',
  isDraft: false,
  parentFolderId: 'abc',
  receivedDateTime: DATE,
  sentDateTime: DATE,
  subject: 'Hello',
  from: person,
  sender: person,
  toRecipients: [person],
  ccRecipients: [person],
  bccRecipients: [],
  replyTo: [],
  conversationId: 'c1',
  internetMessageId: '<1@example.com>',
  bodyPreview: 'Hi',
  isRead: false,
  categories: ['red'],
}
const gmailMessage = {
  id: 'm1',
  threadId: 't1',
  labelIds: ['INBOX', 'UNREAD'],
  snippet: 'Hi &amp; bye',
  internalDate: '1700000000000',
  payload: {
    headers: [
      { name: 'From', value: 'Ada <ada@example.com>' },
      { name: 'To', value: '"B, ob" <bob@example.com>, c@example.com' },
      { name: 'Subject', value: '=?utf-8?Q?Hello?=' },
      { name: 'Date', value: 'Fri, 2 Jan 2026 03:04:05 +0000' },
    ],
  },
}
const change = { message: { id: 'm2', labelIds: ['INBOX'] } }

function gmail({ pathname, searchParams }: URL): object {
  if (pathname.endsWith('/profile')) return { emailAddress: 'ada@example.com', messagesTotal: 3, historyId: '1000' }
  if (pathname.endsWith('/history')) {
    const records = [{ id: '1', messages: [{ id: 'm2' }], messagesAdded: [change] }, { messagesDeleted: [change] }]
    return { history: records, historyId: '1001' }
  }
  if (pathname.endsWith('/messages')) {
    const next = searchParams.get('pageToken') === 'p2' ? {} : { nextPageToken: 'p2' }
    return { messages: [{ id: 'm1' }, { id: 'm2' }], ...next, resultSizeEstimate: 2 }
  }
  return gmailMessage
}

function graph({ pathname, origin }: URL): object {
  const next = { '@odata.nextLink': `${origin}/v1.0/me/next?$skiptoken=2` }
  if (pathname.endsWith('/mailFolders/delta') || pathname.endsWith('/folders')) {
    const folder = { id: 'abc', displayName: 'Inbox', parentFolderId: null, totalItemCount: 3 }
    return {
      value: [folder, { ...folder, id: 'def', parentFolderId: 'abc' }],
      '@odata.deltaLink': `${origin}/v1.0/folders`,
    }
  }
  if (pathname.endsWith('/messages/delta') || pathname.endsWith('/d'))
    return { value: [graphMessage, { id: 'm2', '@removed': {} }, { id: 'm3' }], ...next }
  if (pathname.endsWith('/next'))
    return { value: [{ ...graphMessage, id: 'm5' }], '@odata.deltaLink': `${origin}/v1.0/d` }
  if (pathname.endsWith('/messages')) return { value: [graphMessage, { ...graphMessage, id: 'm4' }], ...next }
  if (pathname.includes('/me/messages/')) return graphMessage
  return { id: 'abc', mail: 'ada@example.com', userPrincipalName: 'ada@example.com' }
}

export const rightAnswer = (url: URL): object => (url.pathname.startsWith('/gmail/') ? gmail(url) : graph(url))

const tree = [{ id: 'abc', parent: null, name: 'Inbox', known: 'inbox', total: 3 }]
export const ORIGIN = 'http://127.0.0.1:4000'
const link = `${ORIGIN}/v1.0/d?$deltatoken=1`
export const FOLDERS = JSON.stringify({ link: `${ORIGIN}/v1.0/folders?$deltatoken=1`, tree, next: null })

/** What is asked: a lane at a position, or who the mailbox is. */
export const GMAIL_LANES: [lane: string, cursor: string | null][] = [
  ['identify', null],
  ['look', null],
  ['history', null],
  ['history', '{"start":"900"}'],
  ['enum', null],
  ['enum', `{"pass":2,"fresh":1,"page":"p1","atMs":${Number.MAX_SAFE_INTEGER}}`],
  ['drain', null],
  ['refill', null],
  ['audit', null],
]
export const GRAPH_LANES: [lane: string, cursor: string | null][] = [
  ['identify', null],
  ['look', null],
  ['folders', null],
  ['folders', FOLDERS],
  ['folder:abc', null],
  ['folder:abc', link],
  ['drain', null],
  ['refill:abc', null],
  ['audit:abc', null],
]
