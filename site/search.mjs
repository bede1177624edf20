// How the site is searched: what is in the index, and what counts how much.

export const searchOptions = {
  fields: ['title', 'page', 'text'],
  storeFields: ['title', 'page', 'section', 'place'],
  searchOptions: { prefix: true, fuzzy: 0.15, boost: { title: 4, page: 2 }, combineWith: 'AND' },
}
