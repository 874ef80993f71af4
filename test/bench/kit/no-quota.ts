/** What an instance is told where the machine is to set the pace. A get counts one unit, because more of them would be a limit. */
export const NO_QUOTA = {
  MAIL_GMAIL_GET_UNITS: '1',
  MAIL_GMAIL_UNITS_PER_MIN: '10000000',
  MAIL_GMAIL_PROJECT_UNITS_PER_MIN: '1000000000',
  MAIL_GRAPH_REQUESTS_PER_10MIN: '100000000',
}
