return {string.format('%.0f', now), r, expires, 0}
