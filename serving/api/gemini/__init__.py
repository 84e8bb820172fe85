"""Google's Gemini API: generateContent whole and streamed, countTokens, and the models."""
