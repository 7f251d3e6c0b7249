"""Classical recurrent networks: RNN, LSTM, GRU."""
