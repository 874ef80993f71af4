/** Owns bare requests to the simulator for its own tests. Refuses to retry or to interpret. */
import type { Simulator } from './simulator.ts'
import type { Credentials } from './types.ts'

export interface Reply<T> {
  status: number
  headers: Headers
  body: T
}

export interface GraphPage {
  value: GraphItem[]
  '@odata.nextLink'?: string
  '@odata.deltaLink'?: string
}
interface GraphItem {
  id: string
  subject?: string | null
  isRead?: boolean
  '@removed'?: { reason: string }
}
export interface GmailList {
  messages?: { id: string }[]
  nextPageToken?: string
}
export interface ErrorBody {
  error: { code: string | number; message: string; status?: string; errors?: { reason: string }[] }
}

export async function ask<T>(
  simulator: Simulator,
  who: Credentials,
  path: string,
  init: RequestInit = {},
): Promise<Reply<T>> {
  const url = path.startsWith('http') ? path : simulator.url + path
  const headers = { authorization: `Bearer ${who.access_token}`, ...(init.headers as Record<string, string>) }
  const response = await fetch(url, { ...init, headers })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: (text ? JSON.parse(text) : undefined) as T }
}

export const gmail = <T>(simulator: Simulator, who: Credentials, path: string, init?: RequestInit) =>
  ask<T>(simulator, who, `/gmail/v1/users/me/${path}`, init)

export const graph = <T>(simulator: Simulator, who: Credentials, path: string, prefer = 'IdType="ImmutableId"') =>
  ask<T>(simulator, who, path.startsWith('http') ? path : `/v1.0/me/${path}`, { headers: { prefer } })

/** Ids of all pages of `messages.list`; `between` runs after the first page. */
export async function listAll(
  simulator: Simulator,
  who: Credentials,
  size: number,
  between?: () => void,
): Promise<string[]> {
  const ids: string[] = []
  let token = ''
  do {
    const { body } = await gmail<GmailList>(
      simulator,
      who,
      `messages?maxResults=${size}${token && `&pageToken=${token}`}`,
    )
    ids.push(...(body.messages ?? []).map(({ id }) => id))
    if (!token) between?.()
    token = body.nextPageToken ?? ''
  } while (token)
  return ids
}

/** Walks a delta round to its deltaLink. */
export async function round(
  simulator: Simulator,
  who: Credentials,
  start: string,
  prefer = 'IdType="ImmutableId", odata.maxpagesize=100',
): Promise<{ items: GraphItem[]; pages: number; deltaLink: string }> {
  const items: GraphItem[] = []
  let link = start
  for (let pages = 1; ; pages++) {
    const { status, body } = await graph<GraphPage>(simulator, who, link, prefer)
    if (status !== 200) throw new Error(`${link}: ${status}`)
    items.push(...body.value)
    if (body['@odata.deltaLink']) return { items, pages, deltaLink: body['@odata.deltaLink'] }
    link = body['@odata.nextLink'] ?? ''
  }
}

export function refresh(url: string, who: Credentials): Promise<Response> {
  const form = { grant_type: 'refresh_token', client_id: 'c', client_secret: 's', refresh_token: who.refresh_token }
  return fetch(url, { method: 'POST', body: new URLSearchParams(form) })
}
